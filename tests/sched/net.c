// SPDX-License-Identifier: MIT
/*
 * net.c - schedules of the userfaultfd source, the real code, over a modelled kernel. As
 * core.c: each scenario is clean for a number of seeds; each planted bug of
 * enum hmmu_uffd_plant names the scenario that kills it.
 *
 *	sched-net [planted|buffered] [NAME]	all, or the scenario, or the bug, of that name
 */
#include "net_run.h"

/* ---- threads of the program ------------------------------------------- */

static void read_twice(unsigned int i)
{
	struct net_got got;

	for (int n = 0; n < 2; n++) {
		if (!net_load(i, &got))
			continue;
		net_access(&got);
		net_access(&got);
	}
}

static void read0(void)
{
	read_twice(0);
}

static void read1(void)
{
	read_twice(1);
}

static void use0(void)
{
	for (int i = 0; i < 4; i++)
		net_device(0);
}

static void replace(void)
{
	net_replace(RAW, 0, 1);
	net_device(0);
}

static void replace_twice(void)
{
	net_replace(RAW, 0, 2);
	net_replace(RAW, 0, 1);
	net_device(0);
}

static void replace_often(void)
{
	for (int n = 0; n < 4; n++)
		replace();
}

static void read_often(void)
{
	read0();
	read0();
}

/* An mm that opens while events are under way, and closes again. */
static void another_mm(void)
{
	struct mm_struct *mm = net_open_another(net.mm->sources);

	net_insert_in(mm, 2, 0);
	read_twice(2);
	net_remove(2);
	sched_assert(hmmu_mm_close(mm) == 0);
}

static void unmap(void)
{
	net_munmap(RAW, 0, 1);
	net_device(0);
}

static void unmap_map(void)
{
	unmap();
	net_mmap(RAW, 0, 1);
	net_device(0);
}

/* The address may be another thread's, whose munmap has not returned. */
static void take(void)
{
	if (net_mmap(RAW, 0, 1) == 0)
		net_device(0);
}

static void take_by_hook(void)
{
	if (net_mmap(BY_HOOK, 0, 1) == 0)
		net_device(0);
}

static void drop(void)
{
	net_dontneed(RAW, 0, 2);
	net_device(0);
}

static void drop_twice(void)
{
	drop();
	drop();
}

static void drop_by_hook(void)
{
	net_dontneed(BY_HOOK, 0, 2);
	net_device(0);
}

static void drop_one_by_hook(void)
{
	net_dontneed(BY_HOOK, 0, 1);
}

static void drop_one(void)
{
	net_dontneed(RAW, 0, 1);
	net_device(0);
}

static void replace_second(void)
{
	net_replace(RAW, 1, 1);
	net_device(1);
}

static void replace_second_by_hook(void)
{
	net_replace(BY_HOOK, 1, 1);
	net_device(1);
}

static void unmap_by_hook(void)
{
	net_munmap(BY_HOOK, 0, 1);
	net_mmap(BY_HOOK, 0, 1);
	net_device(0);
}

static void replace_by_hook(void)
{
	net_replace(BY_HOOK, 0, 2);
	net_device(0);
}

static void move_and_back(void)
{
	sched_assert(net_mremap(RAW, 0, 2, 4, false) == 0);
	net_device(0);
	sched_assert(net_mremap(RAW, 4, 2, 0, false) == 0);
	net_device(0);
	net_device(1);
}

static void move_keep(void)
{
	sched_assert(net_mremap(RAW, 0, 2, 4, true) == 0);
	net_device(0);
}

static void insert_again(void)
{
	for (int i = 0; i < 2; i++) {
		read0();
		net_remove(0);
		net_insert(0, 0);
	}
}

static void unmap_under_lock(void)
{
	struct net_driver *d = &net.driver[0];

	kernel_lock(&d->lock);
	d->shadow = 0;
	net_munmap(RAW, 0, 1);
	kernel_unlock(&d->lock);
}

static void hook_under_lock(void)
{
	struct net_driver *d = &net.driver[0];

	kernel_lock(&d->lock);
	d->shadow = 0;
	net_munmap(BY_HOOK, 0, 1);
	kernel_unlock(&d->lock);
}

static void close_lost(void)
{
	kernel_take_number();
	net_close();
}

static void close_number(void)
{
	kernel_take_number();
}

/* Until it is told that nobody watches any more; and its driver, that all is lost. */
static void read_until_lost(void)
{
	struct net_got got;

	while (!hmmu_load_relaxed(&net.driver[0].lost)) {
		if (net_load(0, &got))
			net_access(&got);
		hmmu_cpu_relax();
	}
}

/* ---- what they find --------------------------------------------------- */

static void open_with(unsigned int sources, const char *layout, unsigned int threads)
{
	struct net_got got;

	net_open(sources, layout, threads);
	net_insert(0, 0);
	net_load(0, &got);
}

static void alone2(void)
{
	open_with(ALONE, "aa", 2);
}

static void alone3(void)
{
	open_with(ALONE, "aa", 3);
}

static void both2(void)
{
	open_with(BOTH, "aa", 2);
}

static void both3(void)
{
	open_with(BOTH, "aa", 3);
}

static void two_mappings(void)
{
	open_with(BOTH, "ab", 3);
}

static void unread(void)
{
	net_open(ALONE, "aa", 3);
	net_insert(0, 0);
	net_insert(1, 1);
}

static void unread_two(void)
{
	net_open(BOTH, "aa", 4);
	net_insert(0, 0);
	net_insert(1, 1);
}

static void unread_both(void)
{
	net_open(BOTH, "aa", 3);
	net_insert(0, 0);
}

/* What moved is known to be registered: nothing of it is left for a child that holds on. */
static void moving(void)
{
	net_open(ALONE, "aa", 3);
	kernel.child_holds = true;
	net_insert(0, 0);
	net_insert(1, 4);
}

static void moving_unread(void)
{
	net_open(ALONE, "aa", 2);
	kernel.child_holds = true;
	net_insert(0, 0);
	net_insert(1, 4);
	net.driver[1].unread = true;
}

static void small_ring(void)
{
	alone3();
	hmmu_uffd_room = 1;
}

static void losing(void)
{
	alone3();
	net.may_be_lost = true;
}

static void losing_both(void)
{
	both3();
	net.may_be_lost = true;
}

static void closing(void)
{
	open_with(ALONE, "aa", 1);
	kernel.task[KERNEL_OURS + 1].gone = false;
}

static void closing_full(void)
{
	closing();
	kernel.task[KERNEL_OURS + 2].gone = false;
	hmmu_uffd_room = 1;
}

static void closing_child(void)
{
	closing();
	kernel.child_holds = true;
	net.may_be_lost = true;
}

/* ---- scenarios -------------------------------------------------------- */

#define CLOSE(label, set_up, fn)                                                    \
	{                                                                           \
		NET_PROGRAM(label, set_up),                                         \
			.names = {NET_NAMES, #fn, "unmap"},                         \
			.threads = {NET_THREADS, net_program, net_bystander},       \
			.args = {NULL, NULL, NULL, NET_FN(fn), NET_FN(unmap_only)}, \
	}

static void unmap_only(void)
{
	net_munmap(RAW, 0, 2);
}

static void replace_only(void)
{
	net_replace(RAW, 0, 2);
	net_replace(RAW, 1, 1);
}

enum {
	MEETINGS,
	REPLACED,
	REPLACED_BOTH,
	AGAIN,
	REMOVED,
	REMOVED_BOTH,
	MOVED,
	KEPT,
	KEPT_UNREAD,
	REUSED,
	HANDED_OUT,
	INSERTED,
	OVERFLOWED,
	LOST,
	LOST_BOTH,
	MUTED,
	MUTED_TWO,
	UNREGISTERED,
	LOCKED,
	CLOSED,
	CLOSED_CHILD,
	CLOSED_FULL,
	OFTEN,
	ARMED_MEANWHILE,
	ARMED_BESIDE,
	RUN_BY_HOOK,
	RUN_ALONE,
	OPENED,
	NSCENARIOS
};

static const struct sched_program scenarios[NSCENARIOS] = {
	/* The three meetings, by return. */
	[MEETINGS] = NET_PROGRAM2("meetings", alone2, read0, replace_twice),
	[REPLACED] =
		NET_PROGRAM3("two replace, one reads", unread, read0, replace_twice, replace),
	[REPLACED_BOTH] =
		NET_PROGRAM3("two replace, beside hooks", both3, read0, replace_twice, replace),
	[AGAIN] = NET_PROGRAM3("unmapped and mapped again", alone3, read0, unmap_map, use0),
	[REMOVED] = NET_PROGRAM3("pages dropped", alone3, read0, drop_twice, use0),
	[REMOVED_BOTH] =
		NET_PROGRAM3("pages dropped by two, beside hooks", both3, read0, drop, drop),
	[MOVED] = NET_PROGRAM3("moved and back", moving, read0, move_and_back, read1),
	[KEPT] = NET_PROGRAM3("moved and kept", moving, read0, move_keep, read1),
	[KEPT_UNREAD] =
		NET_PROGRAM2("moved where nobody reads", moving_unread, read0, move_keep),
	/* A third thread takes the address before the first is back. */
	[REUSED] = NET_PROGRAM2("reused", alone2, unmap, take),
	[HANDED_OUT] = NET_PROGRAM2("handed out by a hook", both2, unmap, take_by_hook),
	[INSERTED] = NET_PROGRAM3("removed and inserted", unread, insert_again, replace, read1),
	[OVERFLOWED] =
		NET_PROGRAM3("a full ring", small_ring, read0, replace_twice, drop_twice),
	[LOST] = NET_PROGRAM3("the descriptor is lost", losing, read_until_lost, close_number,
			      replace_twice),
	[LOST_BOTH] = NET_PROGRAM3("lost, beside hooks", losing_both, read0, close_number,
				   replace_by_hook),
	[MUTED] = NET_PROGRAM3("a bracketed and a raw drop", both3, read0, drop_by_hook, drop),
	[MUTED_TWO] = NET_PROGRAM3("bracketed drops of two mappings", two_mappings, read0,
				   drop_by_hook, drop_by_hook),
	[UNREGISTERED] = NET_PROGRAM3("bracketed changes beside raw ones", both3, read0,
				      unmap_by_hook, replace),
	[LOCKED] = NET_PROGRAM3("unmapped under the driver lock", alone3, read0,
				unmap_under_lock, use0),
	[CLOSED] = CLOSE("closed while somebody unmaps", closing, net_close),
	[CLOSED_CHILD] = CLOSE("closed, and a child holds the file", closing_child, close_lost),
	[CLOSED_FULL] = {NET_PROGRAM("closed with a full ring", closing_full),
			 .names = {NET_NAMES, "net_close", "unmap", "replace"},
			 .threads = {NET_THREADS, net_program, net_bystander, net_bystander},
			 .args = {NULL, NULL, NULL, NET_FN(net_close), NET_FN(unmap_only),
				  NET_FN(replace_only)}},
	[OFTEN] = NET_PROGRAM2("replaced often", both2, read_often, replace_often),
	[ARMED_MEANWHILE] =
		NET_PROGRAM3("drops while it is armed", unread_both, read0, drop_by_hook, drop),
	[ARMED_BESIDE] = NET_PROGRAM4("drops while its neighbour is armed", unread_two, read0,
				      drop_one_by_hook, drop_one, read1),
	[RUN_BY_HOOK] = NET_PROGRAM4("neighbours armed together, beside hooks", unread_two,
				     read0, replace_second_by_hook, replace_second, read1),
	[RUN_ALONE] =
		NET_PROGRAM3("neighbours armed together", unread, read0, replace_second, read1),
	[OPENED] =
		NET_PROGRAM3("an mm opens meanwhile", alone3, read0, replace_twice, another_mm),
};

#define PLANTED(bug, scenario)                                                          \
	{                                                                               \
		.name = #bug, .uffd = UFFD_PLANT_##bug, .killer = &scenarios[scenario], \
	}

static const struct net_planted planted[] = {
	PLANTED(READ_THEN_MARK, MEETINGS),
	PLANTED(NO_PROBE, REUSED),
	PLANTED(ARM_ONCE, REPLACED_BOTH),
	PLANTED(REMOVE_ENDS, REMOVED),
	PLANTED(PART, MOVED),
	PLANTED(CLOSE_REGISTERED, CLOSED_CHILD),
	PLANTED(SHARED_TABLE, LOST),
	PLANTED(NO_SOURCE, KEPT),
	PLANTED(NO_HANDOUT, HANDED_OUT),
	PLANTED(LOST_SILENT, LOST),
	PLANTED(SPILL_SILENT, OVERFLOWED),
	PLANTED(NO_COVER, REPLACED),
};

/* A change by a hook under the lock that its callback wants. */
static const struct net_wrong wrong[] = {
	{NET_PROGRAM2("bracketed under the driver lock", both2, read0, hook_under_lock),
	 SCHED_DEADLOCK},
};

int main(int argc, char **argv)
{
	const struct net_suite suite = {
		.scenarios = scenarios,
		.nscenarios = NSCENARIOS,
		.planted = planted,
		.nplanted = sizeof(planted) / sizeof(planted[0]),
		.wrong = wrong,
		.nwrong = sizeof(wrong) / sizeof(wrong[0]),
	};

	return net_run(&suite, argc, argv);
}
