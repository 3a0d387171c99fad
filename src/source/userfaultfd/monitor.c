// SPDX-License-Identifier: MIT
/*
 * monitor.c - the reader: takes events off the kernel, and nothing else.
 *
 * It takes no lock and calls nobody. Whoever is blocked on an event waits for it alone.
 *
 * SEVERAL EVENTS OF ONE READ. read() takes what is queued, in order, as far as the buffer
 * reaches, and waits for none but the first (here for none). Whoever queued an event is let
 * go as it is copied, not when read() returns:
 *
 *	A in munmap(X)		B in munmap(Y)		monitor
 *	event queued, sleeps	event queued, sleeps
 *							number N; all mms undecided
 *							read(): X; A may go on
 *	returns
 *							Y; B may go on
 *				returns
 *							both queued, under N
 *	[Required, of each from its return on: undecided, or begun has moved]
 *							dispatcher: start(X); end
 *							still undecided
 *							start(Y); end
 *							decided: N is dispatched
 *
 * One mark is enough for all of them, and the last one takes it back: `more` says that an
 * event is not the last. The number is that of the read. It comes before the read, so whatever
 * was read before a moment has a number up to `marked` of that moment, and all of a number
 * has been told of when it is `dispatched`: drain() and mute.c rely on both.
 *
 * NO MORE THAN THE RING HAS ROOM FOR are asked for: only we fill it, so what was free before
 * the read is free after it. Where nothing is, one event is read, and spilled. So the mark of
 * a read is either the dispatcher's, with its last event, or spilled, never both.
 *
 * WHILE PAGES MAY BE ON DEVICES ONE MESSAGE is read at a time, as the argument of devmem/ is
 * drawn. (The kernel gives out touches before events, and refuses that one is served while a
 * change is unread. Of one read the changes would have to be told first.)
 */
#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <sched.h>
#include <sys/mman.h>

#include "arch/syscall.h"
#include "futex.h"
#include "instance.h"
#include "notifier/notifier.h"
#include "source/userfaultfd/userfaultfd.h"

#ifndef SYS_close_range
#define SYS_close_range 436
#endif

#define LAST_TRIES 5000

/* Every mm of this source becomes undecided; those are noted in the event. */
static void mark(struct uffd_event *ev)
{
	struct hmmu_instance *inst = hmmu_instance_peek();
	struct mm_struct *mm;

	ev->n = 0;
	/* A detach waits, in drain(), for this event's number. */
	for_each_watched (inst, mm) {
		if (!mm->net)
			continue;
		/* Pairs with the loads of epoch in read.c. */
		hmmu_add_seqcst(&mm->epoch, EPOCH_MARK);
		ev->mm[ev->n++] = mm;
	}
}

static void decode(const struct uffd_msg *msg, struct uffd_event *ev)
{
	switch (msg->event) {
	case UFFD_EVENT_UNMAP:
	case UFFD_EVENT_REMOVE:
		ev->what = msg->event == UFFD_EVENT_UNMAP ? UFFD_GONE : UFFD_GOING;
		ev->start = msg->arg.remove.start;
		ev->end = msg->arg.remove.end;
		break;
	case UFFD_EVENT_REMAP:
		ev->what = UFFD_MOVED;
		ev->start = msg->arg.remap.from;
		ev->end = ev->start + msg->arg.remap.len;
		ev->to = msg->arg.remap.to;
		ev->to_end = ev->to + msg->arg.remap.len;
		break;
	default:
		/* Nothing else was asked for. Whatever it was, nobody may miss it. */
		ev->what = UFFD_SPILLED;
	}
}

/* Its place: one that has it, or an empty one. There are as many as mms that can be marked. */
static unsigned int spill_place(const struct hmmu_uffd *u, const struct mm_struct *mm)
{
	unsigned int empty = 0;

	for (unsigned int k = 0; k < HMMU_WATCHED_MAX; k++) {
		if (!hmmu_load_seqcst(&u->spill[k]))
			empty = k;
		else if (u->spill_mm[k] == mm)
			return k;
	}
	return empty;
}

/* One mark is enough for all: the dispatcher that takes it back tells of everything. */
static void spill_one(struct hmmu_uffd *u, struct mm_struct *mm)
{
	unsigned int k = spill_place(u, mm);
	uint64_t one = 1;

	/* Pairs with dispatch_spilled(): it has not taken it, and will. source.pml SP1 */
	if (hmmu_cas_seqcst(&u->spill[k], &one, 1)) {
		hmmu_add_seqcst(&mm->epoch, EPOCH_CLEAR);
		return;
	}
	hmmu_store_relaxed(&u->spill_mm[k], mm);
	hmmu_store_seqcst(&u->spill[k], 1);
}

/* No room: the marks stay, and the dispatcher tells everybody that all may be gone. */
static void spill(struct hmmu_uffd *u, const struct uffd_event *ev)
{
	/* Of all of them: it may have been there that a registered mapping moved to. */
	hmmu_store_release(&u->unnoted, 1);
	for (unsigned int i = 0; i < ev->n; i++)
		spill_one(u, ev->mm[i]);
	/* After the marks: pairs with run(). source.pml SP2 */
	hmmu_store_seqcst(&u->spilled, ev->number);
}

/* source.pml SR4 */
void hmmu_uffd_poke(struct hmmu_uffd *u)
{
	hmmu_add_seqcst(&u->head_futex, 1);
	hmmu_futex_wake(&u->head_futex, INT_MAX);
}

/* How many can be queued. One place is kept: a spill must be followed by a number of its
 * own. */
static uint64_t room(struct hmmu_uffd *u)
{
	uint64_t used = hmmu_load_relaxed(&u->head) - hmmu_load_acquire(&u->tail);

	return used < UFFD_ROOM ? UFFD_ROOM - used : 0;
}

/* Filled by us until it is queued; dispatched, it keeps what it says until the ring has gone
 * round. Of the place that is kept, too. */
static struct uffd_event *place(struct hmmu_uffd *u, unsigned int i)
{
	return &u->ring[(hmmu_load_relaxed(&u->head) + i) % UFFD_RING];
}

/* The next @n places: all of one read. */
static void push(struct hmmu_uffd *u, unsigned int n)
{
	if (room(u) < n) {
		if (!UFFD_PLANTED(SPILL_SILENT))
			spill(u, place(u, 0));
	} else {
		/* Pairs with the dispatcher's load. source.pml SR3 */
		hmmu_store_release(&u->head, hmmu_load_relaxed(&u->head) + n);
	}
	hmmu_uffd_poke(u);
}

/* Of no event: decided again here, if the dispatcher has nothing to do; else it follows what
 * is in the ring. Only who has dispatched the number before may pass this one over: as long as
 * nothing is pushed the dispatcher does not write it. */
static void pass_over(struct hmmu_uffd *u, const struct uffd_event *ev)
{
	uint64_t before = ev->number - 1;

	if (!hmmu_cas_seqcst(&u->dispatched, &before, ev->number)) {
		push(u, 1);
		return;
	}
	for (unsigned int i = 0; i < ev->n; i++) {
		/* As decide() in dispatch.c. */
		hmmu_add_seqcst(&ev->mm[i]->epoch, EPOCH_CLEAR);
		hmmu_event_signal(ev->mm[i]);
	}
}

/* What one read found. */
struct found {
	unsigned int events; /* the places from head on; queued */
	unsigned int touches;
};

/* Each event into its place. The first place has the number and the mms. */
static void take_events(struct hmmu_uffd *u, int fd, const struct uffd_msg *msg, unsigned int n,
			struct found *f)
{
	const struct uffd_event first = *place(u, 0);

	for (unsigned int i = 0; i < n; i++) {
		struct uffd_event *ev;

		if (msg[i].event == UFFD_EVENT_PAGEFAULT) {
			f->touches++;
			continue;
		}
		if (f->events)
			place(u, f->events - 1)->more = true;
		ev = place(u, f->events++);
		*ev = first;
		decode(&msg[i], ev);
		hmmu_uffd_tell_device(ev);
		/* What is listed may have been moved on already: read_last(). */
		if (ev->what == UFFD_MOVED && hmmu_load_acquire(&u->stopping))
			hmmu_uffd_unregister(fd, ev->to, ev->to_end);
	}
}

/* A device that serves from now on has waited for every number before. */
static unsigned int how_many(struct hmmu_uffd *u, const struct hmmu_uffd_device *device)
{
	uint64_t n = device ? 1 : room(u);

	if (n > UFFD_AT_ONCE)
		return UFFD_AT_ONCE;
	return n ? (unsigned int)n : 1;
}

/* What is there now, and at most UFFD_READ_MAX of it. Nothing: a number without an event. */
static struct found read_some(struct hmmu_uffd *u, int fd)
{
	const struct hmmu_uffd_device *device;
	struct uffd_event *ev = place(u, 0);
	struct uffd_msg msg[UFFD_READ_MAX];
	struct found f = {0, 0};
	unsigned int n;
	long got;

	/* models/spin/source.pml SR1 SR2 */
	*ev = (struct uffd_event){.number = hmmu_add_seqcst(&u->marked, 1) + 1};
	if (!UFFD_PLANTED(READ_THEN_MARK))
		mark(ev);
	UFFD_GATE(MARKED, 0, 0);
	/* After the number: pairs with hmmu_uffd_serve(). */
	device = hmmu_uffd_device();
	n = how_many(u, device);
	if (device)
		device->reading(true);
	got = hmmu_syscall(SYS_read, fd, msg, n * sizeof(msg[0]));
	n = got > 0 ? (unsigned int)got / sizeof(msg[0]) : 0;
	take_events(u, fd, msg, n, &f);
	if (device)
		device->reading(false);
	for (unsigned int i = 0; i < n; i++)
		if (msg[i].event == UFFD_EVENT_PAGEFAULT)
			hmmu_uffd_touched(u, msg[i].arg.pagefault.address);
	if (f.touches && !f.events) {
		pass_over(u, ev);
		return f;
	}
	n = f.events ? f.events : 1;
	for (unsigned int i = 0; i < n; i++)
		UFFD_GATE(READ, place(u, i)->start, place(u, i)->end);
	if (UFFD_PLANTED(READ_THEN_MARK))
		mark(place(u, n - 1));
	push(u, n);
	return f;
}

static bool read_any(struct hmmu_uffd *u, int fd)
{
	struct found f = read_some(u, fd);

	return f.events || f.touches;
}

/*
 * source.pml SR5
 *
 * Nothing is registered any more but what moved while it was looked for: its event tells.
 * Who has changed memory and not come to queue his event yet would wait for ever if a
 * forked child kept the file open; he is seen by the probe. (A kernel may leak that count:
 * not for ever.)
 */
static void read_last(struct hmmu_uffd *u, int fd)
{
	for (int tries = 0; tries < LAST_TRIES; tries++) {
		while (read_any(u, fd))
			;
		if (!hmmu_uffd_untold(fd))
			break;
		hmmu_uffd_pause(20000);
	}
}

/* It may be another's event that woke us: then nobody reads that of the page, which is
 * unregistered. Where that fails (or it is unmapped already) it is read. */
static void drop_stop_page(struct hmmu_uffd *u, int fd)
{
	uint64_t page = (uint64_t)u->stop_page;

	if (!hmmu_uffd_unregister(fd, page, page + UFFD_PAGE))
		return;
	while (!hmmu_load_acquire(&u->stop_told))
		if (!read_any(u, fd))
			hmmu_uffd_pause(100000);
}

/* The descriptors of the program that came with the table. One that stays would keep what
 * the program closes open. */
static long drop_table(int fd)
{
	long ret = fd > 0 ? hmmu_syscall(SYS_close_range, 0, fd - 1, 0) : 0;

	return ret ? ret : hmmu_syscall(SYS_close_range, fd + 1, UINT_MAX, 0);
}

static void report_started(struct hmmu_uffd *u, int state)
{
	hmmu_store_release(&u->started, state);
	hmmu_futex_wake((uint32_t *)&u->started, INT_MAX);
}

static void leave(struct hmmu_uffd *u)
{
	hmmu_add_seqcst(&u->running, (uint32_t)-1);
	hmmu_futex_wake(&u->running, INT_MAX);
}

static int own_table(struct hmmu_uffd *u)
{
	long ret = 0;

	if (UFFD_PLANTED(SHARED_TABLE))
		return 0;
	ret = hmmu_syscall(SYS_unshare, CLONE_FILES);
	if (!ret)
		ret = drop_table(u->fd);
	return (int)ret;
}

void *hmmu_uffd_reader(void *arg)
{
	struct hmmu_uffd *u = arg;
	int fd = u->fd, ret = own_table(u);

	/* It shares this table. */
	if (!ret)
		ret = hmmu_census_prepare();
	if (!ret)
		ret = -pthread_create(&u->census, NULL, hmmu_uffd_census, u);
	report_started(u, ret ? ret : 1);
	if (ret)
		return NULL;
	/* Asked before each sleep: poll may have returned for no reason, or in vain, and then
	 * the read took what was to wake this thread. */
	while (!hmmu_load_acquire(&u->stopping)) {
		struct pollfd p = {.fd = fd, .events = POLLIN};
		bool asked = u->ntouches || u->unkept_end;
		struct found f = {0, 0};

		hmmu_poll(&p, 1, asked ? 1 : -1);
		UFFD_GATE(POLLED, 0, 0);
		if (hmmu_load_acquire(&u->stopping))
			break;
		if (!asked || p.revents)
			f = read_some(u, fd);
		hmmu_uffd_touched_again(u, f.touches);
	}
	hmmu_uffd_unregister_all(u, fd);
	drop_stop_page(u, fd);
	read_last(u, fd);
	if (!UFFD_PLANTED(SHARED_TABLE))
		hmmu_syscall(SYS_close, fd);
	leave(u);
	return NULL;
}

void hmmu_uffd_lose(struct hmmu_uffd *u)
{
	if (UFFD_PLANTED(LOST_SILENT) || hmmu_xchg_seqcst(&u->lost, 1))
		return;
	hmmu_source_unwatch(HMMU_SOURCE_USERFAULTFD);
	hmmu_uffd_poke(u);
}
