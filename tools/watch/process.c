// SPDX-License-Identifier: MIT
/*
 * process.c - the processes of the tree: they come (a slot turns LIVE), exec (another
 * slot with the same pid), end (their pidfd says so), and map code meanwhile.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "atomic.h"
#include "watch.h"

#define STILLBORN 1.0 /* seconds */

static void copy_args(struct watch_process *p, const struct watch_region *r)
{
	size_t n = sizeof(r->args);

	memcpy(p->args, r->args, n);
	while (n && !p->args[n - 1])
		n--;
	for (size_t i = 0; i < n; i++)
		if ((unsigned char)p->args[i] < ' ')
			p->args[i] = ' ';
}

/* A forked child has the mappings of its parent. */
static void inherit(struct watch *w, struct watch_process *p)
{
	const struct watch_process *parent;

	for (uint32_t i = p->index; i-- > 0;) {
		parent = w->processes[i];
		if (parent->pid != p->ppid || !parent->maps)
			continue;
		watch_process_maps(w, p, parent->maps, parent->maps_size);
		return;
	}
}

struct watch_process *watch_process_new(struct watch *w, uint32_t slot)
{
	const struct watch_region *r = w->region[slot];
	struct watch_process *p = watch_alloc(1, sizeof(*p));
	uint64_t room = w->room_processes;

	w->processes = watch_grow(w->processes, &room, w->nr_processes + 1, sizeof(p));
	w->room_processes = (uint32_t)room;
	p->index = w->nr_processes++;
	w->processes[p->index] = p;
	w->at[slot] = p;
	p->slot = slot;
	p->pid = (pid_t)r->pid;
	p->ppid = (pid_t)r->ppid;
	p->how = r->how == WATCH_FORKED ? WATCH_FORKED : WATCH_STARTED;
	p->error = r->error;
	p->born = r->born;
	p->setup = r->setup;
	memcpy(p->comm, r->comm, sizeof(r->comm));
	memcpy(p->exe, r->exe, sizeof(r->exe) - 1);
	copy_args(p, r);
	p->pidfd = (int)syscall(SYS_pidfd_open, p->pid, 0);
	p->ended = p->pidfd < 0 && errno == ESRCH;
	if (p->how == WATCH_FORKED)
		inherit(w, p);
	return p;
}

void watch_process_maps(struct watch *w, struct watch_process *p, const char *text, size_t size)
{
	if (p->maps && size == p->maps_size && !memcmp(p->maps, text, size))
		return;
	free(p->maps);
	p->maps = watch_alloc(size + 1, 1);
	memcpy(p->maps, text, size);
	p->maps_size = size;
	p->maps_new = true;
}

/* From outside; what could not be read leaves things as they are. */
static void look_at_maps(struct watch *w, struct watch_process *p)
{
	static char text[1 << 20];
	char path[64];
	size_t n = 0;
	ssize_t got;
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/maps", p->pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return;
	while (n < sizeof(text) && (got = read(fd, text + n, sizeof(text) - n)) > 0)
		n += (size_t)got;
	close(fd);
	while (n && text[n - 1] != '\n')
		n--;
	/* It may have become another program while this was read. */
	if (!n || !memmem(text, n, "hmmu-watch", 10))
		return;
	watch_process_maps(w, p, text, n);
	if (p->maps_new)
		watch_code_publish(w, p);
}

/* The rest of its ring, and its slot is free. */
void watch_process_end(struct watch *w, struct watch_process *p)
{
	struct watch_region *r = w->region[p->slot];

	p->ended = true;
	p->ended_tsc = watch_now();
	watch_drain_one(w, p);
	p->dropped += hmmu_load_relaxed(&r->dropped);
	if (p->pidfd >= 0)
		close(p->pidfd);
	p->pidfd = -1;
	watch_slot_free(w, p->slot);
	p->slot = WATCH_SLOTS;
}

static bool has_ended(const struct watch_process *p)
{
	struct pollfd fd = {.fd = p->pidfd, .events = POLLIN};

	if (p->ended)
		return true;
	if (p->pidfd < 0)
		return kill(p->pid, 0) < 0 && errno == ESRCH;
	return poll(&fd, 1, 0) > 0;
}

/*
 * A slot that was claimed by who died before it was ready; or by a parent for its child,
 * which may still be coming: it is given a while.
 */
static void free_stillborn(struct watch *w, uint32_t slot)
{
	uint32_t pid = hmmu_load_relaxed(&w->header->slot[slot].pid);

	if (hmmu_load_acquire(&w->header->slot[slot].state) != WATCH_SLOT_CLAIMED || !pid ||
	    kill((pid_t)pid, 0) == 0 || errno != ESRCH) {
		w->orphaned[slot] = 0;
		return;
	}
	if (!w->orphaned[slot])
		w->orphaned[slot] = watch_seconds();
	if (watch_seconds() - w->orphaned[slot] < STILLBORN)
		return;
	w->orphaned[slot] = 0;
	/* Pairs with the compare-and-swap in the module's take_reserved(). */
	if (hmmu_cas_acquire(&w->header->slot[slot].pid, &pid, 0))
		watch_slot_free(w, slot);
}

void watch_processes_look(struct watch *w)
{
	for (uint32_t i = 0; i < WATCH_SLOTS; i++) {
		struct watch_process *p = w->at[i];
		uint64_t head;

		if (!p) {
			free_stillborn(w, i);
			continue;
		}
		if (has_ended(p)) {
			watch_process_end(w, p);
			continue;
		}
		head = hmmu_load_relaxed(&w->region[i]->head);
		if (head != p->last_head)
			look_at_maps(w, p);
		p->last_head = head;
	}
}

bool watch_processes_alive(const struct watch *w)
{
	for (uint32_t i = 0; i < WATCH_SLOTS; i++)
		if (w->at[i] ||
		    /* One that has just come, or is about to. */
		    hmmu_load_acquire(&w->header->slot[i].state) != WATCH_SLOT_FREE)
			return true;
	return false;
}
