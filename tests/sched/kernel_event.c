// SPDX-License-Identifier: MIT
/* kernel_event.c - the modelled userfaultfd: events, registration. See kernel.h. */
#include "kernel.h"

#include <errno.h>
#include <limits.h>
#include <string.h>

#include "futex.h"

/* With the map lock: one more change is untold. */
void kernel_tell_prepare(void)
{
	hmmu_add_seqcst(&kernel.changing, 1);
}

static void enqueue(struct kernel_event *event)
{
	struct kernel_event **link = &kernel.queue;

	while (*link)
		link = &(*link)->next;
	event->next = NULL;
	*link = event;
}

static void dequeue(struct kernel_event *event)
{
	struct kernel_event **link = &kernel.queue;

	while (*link && *link != event)
		link = &(*link)->next;
	if (*link)
		*link = event->next;
}

/* Without the map lock: until it has been read. */
void kernel_tell(struct kernel_event *event, unsigned int kind, uint64_t a, uint64_t b,
		 uint64_t c)
{
	struct kernel_task *task = kernel_self();

	memset(event, 0, sizeof(*event));
	event->msg.event = (uint8_t)kind;
	event->msg.arg.remap.from = a;
	event->msg.arg.remap.to = b; /* or remove.end: the same place */
	event->msg.arg.remap.len = c;
	event->unread = 1;
	kernel_linger(false);
	kernel_point();
	enqueue(event);
	sched_note("queued: %s %lx",
		   kind == UFFD_EVENT_UNMAP   ? "UNMAP"
		   : kind == UFFD_EVENT_REMAP ? "REMAP"
					      : "REMOVE",
		   (unsigned long)a);
	hmmu_add_seqcst(&kernel.wake, 1);
	hmmu_futex_wake(&kernel.wake, INT_MAX);
	while (hmmu_load_seqcst(&event->unread) && !hmmu_load_seqcst(&kernel.released)) {
		task->asleep = true;
		hmmu_futex_wait(&event->unread, 1, NULL);
		task->asleep = false;
	}
	dequeue(event);
	/* When it runs again. */
	kernel_linger(true);
	hmmu_add_seqcst(&kernel.changing, (uint64_t)-1);
	sched_note("told");
}

long kernel_poll(void)
{
	for (;;) {
		uint32_t seen = hmmu_load_seqcst(&kernel.wake);

		if (kernel.queue)
			return 1;
		/* A signal, or another reason to look: poll may be interrupted. */
		if (hmmu_futex_wait(&kernel.wake, seen, NULL) == -EINTR)
			return -EINTR;
	}
}

static void count_told(unsigned int kind)
{
	if (kind == UFFD_EVENT_UNMAP)
		kernel.told[0]++;
	else if (kind == UFFD_EVENT_REMAP)
		kernel.told[1]++;
	else
		kernel.told[2]++;
}

static long read_one(struct uffd_msg *msg)
{
	struct kernel_event *event;

	kernel_point();
	event = kernel.queue;
	if (!event)
		return -EAGAIN;
	*msg = event->msg;
	kernel.queue = event->next;
	count_told(msg->event);
	sched_note("read: %lx", (unsigned long)msg->arg.remap.from);
	/* From here on its caller may return, and `event` is gone. */
	hmmu_store_seqcst(&event->unread, 0);
	hmmu_futex_wake(&event->unread, INT_MAX);
	return sizeof(*msg);
}

/* As many as there are and fit; each one's caller may return before the next is taken. */
long kernel_read_events(struct uffd_msg *msg, size_t size)
{
	long done = 0;

	while (size - (size_t)done >= sizeof(*msg)) {
		long n = read_one(msg++);

		if (n < 0)
			return done ? done : n;
		done += n;
	}
	return done;
}

/* The last copy was closed. */
void kernel_release(void)
{
	struct kernel_event *event;

	for (unsigned int i = 0; i < KERNEL_PAGES; i++)
		kernel.page[i].registered = false;
	hmmu_store_seqcst(&kernel.released, 1);
	while ((event = kernel.queue) != NULL) {
		kernel.queue = event->next;
		hmmu_store_seqcst(&event->unread, 0);
		hmmu_futex_wake(&event->unread, INT_MAX);
	}
}

static long set_registered(const struct uffdio_range *range, bool yes)
{
	unsigned int first, n, found = 0;

	if (!kernel_range(range->start, range->len, &first, &n))
		return -EINVAL;
	kernel_lock(&kernel.map_lock);
	for (unsigned int i = first; i < first + n; i++) {
		if (!kernel.page[i].mapping)
			continue;
		found++;
		if (kernel.page[i].registered == yes)
			continue;
		if (i == first)
			kernel_split(first);
		if (i == first + n - 1)
			kernel_split(first + n);
		kernel.page[i].registered = yes;
	}
	kernel_unlock(&kernel.map_lock);
	sched_note("%sregistered %u+%u", yes ? "" : "un", first, n);
	return found ? 0 : -EINVAL;
}

long kernel_ioctl(unsigned long request, void *arg)
{
	struct uffdio_register *reg = arg;

	switch (request) {
	case UFFDIO_API:
		return 0;
	case UFFDIO_REGISTER:
		return set_registered(&reg->range, true);
	case UFFDIO_UNREGISTER:
		return set_registered(arg, false);
	case UFFDIO_WRITEPROTECT: /* of length 0 */
		return hmmu_load_seqcst(&kernel.changing) ? -EAGAIN : -EINVAL;
	default:
		return -ENOTTY;
	}
}
