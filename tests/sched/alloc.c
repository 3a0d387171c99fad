// SPDX-License-Identifier: MIT
/*
 * alloc.c - schedules of the hooks where they hurt: inside an allocator, whose free()
 * gives pages back with its own lock held. The hooks' replacements and all behind them are
 * the real code; the kernel that carries the calls out is kernel.h's.
 *
 *	free()		arena lock > munmap: start, callback (driver lock), the call, end
 *	the program	driver lock > nothing of the allocator's, by the rule
 *
 * Bracketed changes are exact (G1: no shadow is left when the contents go). Programs that
 * break a rule of docs/contexts.md must deadlock, and be found.
 */
#include "net_run.h"
#include "source/hooks/hooks.h"

#define BLOCKS 4

static struct {
	struct hmmu_lock lock;
	bool taken[BLOCKS];
} arena;

/* ---- the allocator ---------------------------------------------------- */

/* A page for a block, as malloc has it for large ones. */
static int allocate(void)
{
	int i = 0;

	kernel_lock(&arena.lock);
	while (i < BLOCKS && arena.taken[i])
		i++;
	if (i < BLOCKS) {
		arena.taken[i] = true;
		sched_assert(net_mmap(BY_HOOK, (unsigned int)i, 1) == 0);
	}
	kernel_unlock(&arena.lock);
	return i < BLOCKS ? i : -1;
}

static void give_back(int i)
{
	kernel_lock(&arena.lock);
	sched_assert(arena.taken[i]);
	sched_assert(net_munmap(BY_HOOK, (unsigned int)i, 1) == 0);
	arena.taken[i] = false;
	kernel_unlock(&arena.lock);
}

/* The heap's top goes, what is kept is moved: two ranges. */
static void trim(unsigned int from, unsigned int to)
{
	kernel_lock(&arena.lock);
	sched_assert(net_mremap(BY_HOOK, from, 1, to, false) == 0);
	arena.taken[from] = false;
	arena.taken[to] = true;
	kernel_unlock(&arena.lock);
}

/* ---- threads ---------------------------------------------------------- */

/* The block is this thread's; its page may come to another when it is free. */
static void free0(void)
{
	give_back(0);
	net_device(0);
}

static void free1(void)
{
	give_back(1);
	net_device(1);
}

static void churn0(void)
{
	int i;

	free0();
	i = allocate();
	if (i == 0)
		net_device(0);
	if (i >= 0)
		give_back(i);
}

static void churn1(void)
{
	int i;

	free1();
	i = allocate();
	if (i >= 0)
		give_back(i);
}

static void read0(void)
{
	struct net_got got;

	for (int n = 0; n < 3; n++)
		if (net_load(0, &got))
			net_access(&got);
}

static void drop1(void)
{
	net_dontneed(BY_HOOK, 0, 2);
	net_device(0);
	net_device(1);
}

static void move0(void)
{
	trim(0, 1);
	net_device(0);
	net_device(1);
}

static void drop0_raw(void)
{
	net_dontneed(RAW, 0, 1);
	net_device(0);
}

/* A vfork child runs on its parent's memory and stack, with a table of its own. */
static void vfork_free0(void)
{
	kernel_self()->vforked = true;
	kernel.table[2] = kernel.table[0];
	if (sched_random(2))
		kernel.table[2] = NUMBER_CLOSED; /* as programs do before they exec */
	give_back(0);
	sched_assert(allocate() >= 0);
	kernel_self()->vforked = false;
	kernel.table[2] = NUMBER_CLOSED;
	net_device(0);
}

/* An mm that begins to watch while calls are in flight, and stops. */
static void another_mm(void)
{
	struct mm_struct *mm = net_open_another(net.mm->sources);
	struct net_got got;

	net_insert_in(mm, 2, 0);
	for (int n = 0; n < 2; n++)
		if (net_load(2, &got))
			net_access(&got);
	net_remove(2);
	sched_assert(hmmu_mm_close(mm) == 0);
}

/* By the rule: what has to be freed is freed when the lock is gone. */
static void locked_then_free1(void)
{
	struct net_driver *d = &net.driver[0];

	kernel_lock(&d->lock);
	d->shadow = 0;
	kernel_unlock(&d->lock);
	give_back(1);
}

static void allocate_under_lock(void)
{
	struct net_driver *d = &net.driver[0];

	kernel_lock(&d->lock);
	d->shadow = 0;
	allocate();
	kernel_unlock(&d->lock);
}

/* ---- callbacks -------------------------------------------------------- */

/* Gives back what its shadow needed, by a call of its own: it nests. */
static void drop_next(struct net_driver *d)
{
	bool bracketed = kernel_self()->bracketed;

	if (d->called == 1)
		net_munmap(BY_HOOK, d->page + 1, 1);
	kernel_self()->bracketed = bracketed;
}

static void allocate_in_callback(struct net_driver *d)
{
	if (d->called == 1)
		allocate();
}

/* ---- what they find --------------------------------------------------- */

static void open_arena(unsigned int sources, unsigned int threads)
{
	struct net_got got;

	/* A mapping for each block; the third and fourth are free. */
	net_open(sources, "ab..", threads);
	arena.lock.word = HMMU_LOCK_FREE;
	for (int i = 0; i < BLOCKS; i++)
		arena.taken[i] = i < 2;
	for (unsigned int i = 0; i < 2; i++) {
		net_insert(i, i);
		net_load(i, &got);
	}
}

static void hooked2(void)
{
	open_arena(HOOKED, 2);
}

static void hooked3(void)
{
	open_arena(HOOKED, 3);
}

static void both3(void)
{
	open_arena(BOTH, 3);
}

static void nested(void)
{
	open_arena(HOOKED, 2);
	net.driver[0].callback = drop_next;
}

static void nested_both(void)
{
	open_arena(BOTH, 2);
	net.driver[0].callback = drop_next;
}

static void allocating(void)
{
	open_arena(HOOKED, 2);
	net.driver[0].callback = allocate_in_callback;
}

/* ---- scenarios -------------------------------------------------------- */

enum {
	FREED,
	FREED_BOTH,
	CHURNED,
	CHURNED_BOTH,
	DROPPED,
	DROPPED_BOTH,
	TRIMMED,
	NESTED,
	NESTED_BOTH,
	VFORKED,
	VFORKED_BOTH,
	ATTACHED,
	ATTACHED_BOTH,
	RULED,
	NSCENARIOS
};

static const struct sched_program scenarios[NSCENARIOS] = {
	[FREED] = NET_PROGRAM3("freed by two", hooked3, free0, free1, read0),
	[FREED_BOTH] = NET_PROGRAM3("freed by two, the net beside", both3, free0, free1, read0),
	[CHURNED] = NET_PROGRAM3("freed and allocated", hooked3, churn0, churn1, read0),
	[CHURNED_BOTH] = NET_PROGRAM3("freed and allocated, the net beside", both3, churn0,
				      churn1, read0),
	[DROPPED] = NET_PROGRAM3("dropped and freed", hooked3, drop1, free1, read0),
	[DROPPED_BOTH] =
		NET_PROGRAM3("dropped by a hook and raw", both3, drop1, drop0_raw, read0),
	[TRIMMED] = NET_PROGRAM2("moved onto another block", hooked2, move0, read0),
	[NESTED] = NET_PROGRAM2("a callback that unmaps", nested, free0, read0),
	[NESTED_BOTH] = NET_PROGRAM2("a callback that unmaps, the net beside", nested_both,
				     free0, read0),
	[VFORKED] = NET_PROGRAM3("freed by a vfork child", hooked3, vfork_free0, churn1, read0),
	[VFORKED_BOTH] = NET_PROGRAM3("freed by a vfork child, the net beside", both3,
				      vfork_free0, churn1, read0),
	[ATTACHED] = NET_PROGRAM3("an mm opens meanwhile", hooked3, churn0, another_mm, read0),
	[ATTACHED_BOTH] = NET_PROGRAM3("an mm opens meanwhile, the net beside", both3, churn0,
				       another_mm, drop0_raw),
	[RULED] =
		NET_PROGRAM2("freed when the lock is gone", hooked2, free0, locked_then_free1),
};

#define PLANTED_HOOK(bug, scenario)                                                          \
	{                                                                                    \
		.name = #bug, .hook = HMMU_HOOK_PLANT_##bug, .killer = &scenarios[scenario], \
	}
#define PLANTED_CORE(bug, scenario)                                                     \
	{                                                                               \
		.name = #bug, .core = HMMU_PLANT_##bug, .killer = &scenarios[scenario], \
	}

static const struct net_planted planted[] = {
	PLANTED_HOOK(END_EARLY, FREED),		PLANTED_HOOK(NO_TARGET, TRIMMED),
	PLANTED_CORE(ATTACH_NO_WAIT, ATTACHED), PLANTED_CORE(CALLBACK_SKIPPED, FREED),
	PLANTED_CORE(START_ONLY, CHURNED),	PLANTED_CORE(NO_WAKE, CHURNED),
};

static const struct net_wrong wrong[] = {
	{NET_PROGRAM2("allocates under the driver lock", hooked2, free0, allocate_under_lock),
	 SCHED_DEADLOCK},
	{NET_PROGRAM2("allocates in the callback", allocating, free0, read0), SCHED_DEADLOCK},
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
