// SPDX-License-Identifier: MIT
/*
 * test_together.c - several events of one read: monitor.c. The reader is held before it reads
 * until as many are queued as a test wants, one after another.
 */
#include "net.h"

#include <sys/mman.h>

#define MANY (2 * UFFD_READ_MAX + 3)

struct one {
	struct change change;
	struct runner runner;
	struct watch w;
	unsigned long seq;
};

static void watch_one(struct one *o, struct mm_struct *mm)
{
	char *p = raw_mmap(NULL, PAGE, RW, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	*p = 'a';
	o->change = (struct change){.what = DO_MUNMAP, .p = p, .len = PAGE};
	watch_add(&o->w, mm, p, PAGE);
	o->seq = watch_begin(&o->w);
}

/* The reader stands before the read; the events of @n are queued, in order. */
static void queue(struct one *o, unsigned int n)
{
	net_hold(UFFD_GATE_POLLED, NULL);
	for (unsigned int i = 0; i < n; i++) {
		runner_start(&o[i].runner, change_run, &o[i].change);
		must(runner_blocked(&o[i].runner));
	}
	net_reached(UFFD_GATE_POLLED);
}

static void let_go(struct one *o, unsigned int n)
{
	for (unsigned int i = 0; i < n; i++) {
		runner_join(&o[i].runner);
		must(o[i].change.ret == 0);
	}
}

static bool decided(struct mm_struct *mm)
{
	return !(hmmu_load_seqcst(&mm->epoch) & EPOCH_LOW & ~EPOCH_PROBE);
}

static void unwatch(struct one *o, unsigned int n)
{
	for (unsigned int i = 0; i < n; i++)
		watch_remove(&o[i].w);
}

/* The read lets all of them go: each is undecided until the last of them has begun. */
ISOLATED_BOTH(together)
{
	struct mm_struct *mm = net_open(sources);
	struct one o[3];
	uint64_t reads;

	for (unsigned int i = 0; i < 3; i++)
		watch_one(&o[i], mm);
	queue(o, 3);
	reads = net_marked();
	net_hold(UFFD_GATE_READ, o[0].change.p);
	net_release(UFFD_GATE_POLLED);
	net_reached(UFFD_GATE_READ);
	let_go(o, 3);
	must(net_marked() == reads + 1);
	for (unsigned int i = 0; i < 3; i++)
		must(watch_retry(&o[i].w, o[i].seq) && !watch_ok(&o[i].w, o[i].seq) &&
		     watch_poll(&o[i].w) == -ETIMEDOUT && watch_calls(&o[i].w) == 0);
	/* The second has begun, and the third has not. */
	net_hold(UFFD_GATE_DISPATCH, o[2].change.p);
	net_release(UFFD_GATE_READ);
	net_reached(UFFD_GATE_DISPATCH);
	for (unsigned int i = 0; i < 3; i++)
		must(watch_retry(&o[i].w, o[i].seq) && !watch_ok(&o[i].w, o[i].seq) &&
		     watch_poll(&o[i].w) == -ETIMEDOUT && watch_calls(&o[i].w) == (i < 2));
	must(hmmu_load_seqcst(&hmmu_uffd->dispatched) == reads);
	net_release(UFFD_GATE_DISPATCH);
	net_quiet();
	for (unsigned int i = 0; i < 3; i++)
		must(watch_retry(&o[i].w, o[i].seq) && watch_calls(&o[i].w) == 1 &&
		     o[i].w.seen_start == (unsigned long)o[i].change.p);
	must(decided(mm));
	unwatch(o, 3);
	net_close(mm);
}

/* More than one read takes: nothing is lost, and nobody stays asleep. */
ISOLATED_BOTH(many)
{
	struct mm_struct *mm = net_open(sources);
	struct one *o = calloc(MANY, sizeof(*o));
	uint64_t reads;

	must(o != NULL);
	for (unsigned int i = 0; i < MANY; i++)
		watch_one(&o[i], mm);
	queue(o, MANY);
	reads = net_marked();
	net_release(UFFD_GATE_POLLED);
	let_go(o, MANY);
	for (unsigned int i = 0; i < MANY; i++)
		must(watch_retry(&o[i].w, o[i].seq));
	net_quiet();
	must(net_marked() == reads + 3);
	for (unsigned int i = 0; i < MANY; i++)
		must(watch_retry(&o[i].w, o[i].seq) && watch_calls(&o[i].w) == 1);
	must(decided(mm));
	unwatch(o, MANY);
	free(o);
	net_close(mm);
}

static void close_run(void *mm)
{
	net_close(mm);
}

/* An mm that closes waits for the last of them: each is told it. */
ISOLATED(close_between)
{
	struct mm_struct *mm = net_open(ALONE), *other = net_open(ALONE);
	struct one o[2];
	struct runner r;

	watch_one(&o[0], mm);
	watch_one(&o[1], mm);
	queue(o, 2);
	net_hold(UFFD_GATE_DISPATCH, o[1].change.p);
	net_release(UFFD_GATE_POLLED);
	let_go(o, 2);
	net_reached(UFFD_GATE_DISPATCH);
	runner_start(&r, close_run, other);
	must(runner_pending(&r));
	net_release(UFFD_GATE_DISPATCH);
	runner_join(&r);
	net_quiet();
	must(watch_calls(&o[0].w) == 1 && watch_calls(&o[1].w) == 1);
	unwatch(o, 2);
	net_close(mm);
}

/* An unmapping, something that moved and a drop: each is told of as what it was. The drop's
 * end comes after its caller has left, not with the read. */
ISOLATED_BOTH(mixed)
{
	struct mm_struct *mm = net_open(sources);
	char *to = raw_mmap(NULL, PAGE, PROT_NONE, ANON, -1, 0);
	struct one o[3];

	for (unsigned int i = 0; i < 3; i++)
		watch_one(&o[i], mm);
	o[1].change.what = DO_MREMAP;
	o[1].change.to = to;
	o[2].change.what = DO_MADVISE;
	o[2].change.advice = MADV_DONTNEED;
	queue(o, 3);
	net_hold(UFFD_GATE_CENSUS, NULL);
	net_release(UFFD_GATE_POLLED);
	let_go(o, 3);
	for (unsigned int i = 0; i < 3; i++)
		must(watch_retry(&o[i].w, o[i].seq));
	must(o[1].change.result == to && *to == 'a');
	net_reached(UFFD_GATE_CENSUS);
	must(watch_poll(&o[2].w) == -ETIMEDOUT);
	net_release(UFFD_GATE_CENSUS);
	net_quiet();
	must(watch_calls(&o[0].w) == 1 && watch_calls(&o[1].w) >= 1 &&
	     watch_calls(&o[2].w) == 1);
	must(o[0].w.phase == HMMU_PHASE_AFTER && o[1].w.phase == HMMU_PHASE_AFTER &&
	     o[2].w.phase == HMMU_PHASE_BEFORE);
	must(watch_ok(&o[2].w, watch_begin(&o[2].w)));
	unwatch(o, 3);
	net_close(mm);
}

/*
 * The ring has room for one more, and several are queued. The oldest that has not been
 * dispatched is still what it was; what has no room is told of as lost.
 */
ISOLATED_BOTH(hardly_room)
{
	struct mm_struct *mm = net_open(sources);
	char *p = raw_map(1);
	struct one o[4];
	struct watch w;
	uint64_t tail;

	watch_add(&w, mm, p, PAGE);
	watch_begin(&w);
	for (unsigned int i = 0; i < 4; i++)
		watch_one(&o[i], mm);
	net_hold(UFFD_GATE_DISPATCH, p);
	must(raw_madvise(p, PAGE, MADV_DONTNEED) == 0);
	net_reached(UFFD_GATE_DISPATCH);
	must(raw_munmap(o[3].change.p, PAGE) == 0);
	tail = hmmu_load_seqcst(&hmmu_uffd->tail);
	while (hmmu_load_seqcst(&hmmu_uffd->head) - tail < UFFD_ROOM - 1)
		must(raw_madvise(p, PAGE, MADV_DONTNEED) == 0);
	queue(o, 3);
	net_release(UFFD_GATE_POLLED);
	let_go(o, 3);
	while (hmmu_load_seqcst(&hmmu_uffd->spilled) != net_marked())
		usleep(50);
	must(hmmu_load_seqcst(&hmmu_uffd->tail) == tail);
	must(hmmu_uffd->ring[tail % UFFD_RING].start == (uint64_t)o[3].change.p &&
	     !hmmu_uffd->ring[tail % UFFD_RING].more);
	for (unsigned int i = 0; i < 4; i++)
		must(watch_retry(&o[i].w, o[i].seq));
	net_release(UFFD_GATE_DISPATCH);
	net_quiet();
	for (unsigned int i = 0; i < 4; i++)
		must(watch_retry(&o[i].w, o[i].seq) && o[i].w.lost >= 1);
	must(decided(mm));
	watch_begin(&w);
	unwatch(o, 4);
	watch_remove(&w);
	net_close(mm);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(together_alone),   cmocka_unit_test(together_both),
		cmocka_unit_test(many_alone),	    cmocka_unit_test(many_both),
		cmocka_unit_test(close_between),    cmocka_unit_test(mixed_alone),
		cmocka_unit_test(mixed_both),	    cmocka_unit_test(hardly_room_alone),
		cmocka_unit_test(hardly_room_both),
	};

	net_init(argc, argv);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
