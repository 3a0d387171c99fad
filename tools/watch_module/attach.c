// SPDX-License-Identifier: MIT
/*
 * attach.c - a process takes a region of the shared memory and begins to watch itself:
 * before main(), and again in each forked child.
 *
 * The memory is found by path, /proc/WATCHER/fd/N, from the environment; the child of a
 * fork remembers the path. No descriptor stays open. Whatever goes wrong here, the
 * program goes on unwatched; where the header could be reached, the watcher is told.
 *
 * Context: the constructor, and the child's atfork handler after the library's own:
 * ordinary threads, the only one of the child.
 */
#include <fcntl.h>
#include <hmmu/mmu_notifier.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "arch/syscall.h"
#include "atomic.h"
#include "module.h"
#include "source/hooks/hooks.h"

struct watch_header *watch_header;
struct watch_region *watch_region;
bool watch_on;

static char path[64];
static uint32_t own_slot;
/* 1 + the slot that this thread's fork has claimed for its child. */
static __thread uint32_t reserved __attribute__((tls_model("initial-exec")));
static struct mmu_notifier notifier;

static void *map(long fd, uint64_t offset, uint64_t size)
{
	long at = hmmu_syscall(SYS_mmap, NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd,
			       offset);

	return hmmu_is_err(at) ? NULL : (void *)at;
}

static bool good_header(const struct watch_header *h)
{
	return h->magic == WATCH_MAGIC && h->events && !(h->events & (h->events - 1)) &&
	       h->region_size == watch_region_size(h->events) && h->window <= WATCH_WINDOW;
}

/* A free slot, claimed for @pid; WATCH_SLOTS: there is none. */
static uint32_t claim(struct watch_header *h, uint32_t pid)
{
	for (uint32_t i = 0; i < WATCH_SLOTS; i++) {
		uint32_t state = WATCH_SLOT_FREE;

		/* Pairs with the release by which the watcher frees it. */
		if (!hmmu_cas_acquire(&h->slot[i].state, &state, WATCH_SLOT_CLAIMED))
			continue;
		hmmu_store_relaxed(&h->slot[i].pid, pid);
		return i;
	}
	hmmu_add_relaxed(&h->missed, 1);
	return WATCH_SLOTS;
}

/* Maps header and region. True: they are there, and the slot is ours. @slot: claimed
 * already, or WATCH_SLOTS. */
static bool take_region(uint32_t slot)
{
	long fd = hmmu_syscall(SYS_openat, AT_FDCWD, path, O_RDWR | O_CLOEXEC);
	struct watch_header *h;

	if (fd < 0)
		return false;
	h = watch_header ? watch_header : map(fd, 0, WATCH_HEADER_SIZE);
	if (h && good_header(h)) {
		watch_header = h;
		own_slot = slot < WATCH_SLOTS ? slot
					      : claim(h, (uint32_t)hmmu_syscall(SYS_getpid));
		if (own_slot < WATCH_SLOTS)
			watch_region = map(fd, watch_region_offset(h->region_size, own_slot),
					   h->region_size);
	}
	hmmu_syscall(SYS_close, fd);
	return watch_region != NULL;
}

static void copy_args(int argc, char **argv)
{
	size_t at = 0;

	for (int i = 0; i < argc && at < sizeof(watch_region->args) - 1; i++) {
		size_t n = strlen(argv[i]);

		if (n > sizeof(watch_region->args) - 1 - at)
			n = sizeof(watch_region->args) - 1 - at;
		memcpy(watch_region->args + at, argv[i], n);
		at += n + 1;
	}
}

static int watch_self(void)
{
	const struct hmmu_mm_options options = {
		.size = sizeof(options),
		.sources = HMMU_SOURCE_HOOKS,
		.flags = HMMU_MM_OWN_RECLAIM,
	};
	struct mm_struct *mm;
	int ret = hmmu_mm_open(&mm, &options);

	if (ret)
		return ret;
	memset(&notifier, 0, sizeof(notifier));
	notifier.ops = &watch_ops;
	return mmu_notifier_register(&notifier, mm);
}

static void go_live(enum watch_how how, uint64_t begun)
{
	struct watch_region *r = watch_region;

	r->pid = (uint32_t)hmmu_syscall(SYS_getpid);
	r->ppid = (uint32_t)hmmu_syscall(SYS_getppid);
	r->how = how;
	r->born = begun;
	hmmu_syscall(SYS_prctl, PR_GET_NAME, r->comm);
	r->error = watch_self();
	r->setup = watch_now() - begun;
	watch_on = !r->error;
	/* Pairs with the acquire in the watcher's scan. */
	hmmu_store_release(&watch_header->slot[own_slot].state, WATCH_SLOT_LIVE);
}

/*
 * A child that is slow to begin, and whose parent ends at once, must not be forgotten: its
 * slot is claimed before fork, in the parent's name, and the watcher waits for it. The
 * child turns the name into its own. One that no child took (fork failed) serves the
 * thread's next fork; should its child come after all, one of the two finds the name
 * changed and claims another.
 */
static void before_fork(void)
{
	uint32_t pid;

	if (!watch_on)
		return;
	pid = watch_region->pid;
	if (reserved && hmmu_load_relaxed(&watch_header->slot[reserved - 1].pid) == pid &&
	    hmmu_load_relaxed(&watch_header->slot[reserved - 1].state) == WATCH_SLOT_CLAIMED)
		return;
	reserved = claim(watch_header, pid) + 1;
}

static uint32_t take_reserved(uint32_t parent)
{
	uint32_t slot = reserved - 1, pid = parent;

	if (!reserved || slot >= WATCH_SLOTS)
		return WATCH_SLOTS;
	reserved = 0;
	/* Pairs with the watcher's, which frees it when it has waited long enough. */
	if (!hmmu_cas_acquire(&watch_header->slot[slot].pid, &pid,
			      (uint32_t)hmmu_syscall(SYS_getpid)))
		return WATCH_SLOTS;
	return slot;
}

static void in_child(void)
{
	uint64_t begun = watch_now();
	struct watch_region *parent = watch_region;
	uint32_t parent_slot = own_slot;

	watch_forget();
	watch_on = false;
	watch_region = NULL;
	if (!parent)
		return;
	if (take_region(take_reserved(parent->pid))) {
		watch_region->code[0] = parent->code[hmmu_load_acquire(&parent->active) & 1];
		memcpy(watch_region->args, parent->args, sizeof(parent->args));
		memcpy(watch_region->exe, parent->exe, sizeof(parent->exe));
		watch_region->parent = parent_slot;
		/* It has one thread, which is here: no call is under way. */
		hmmu_hooks_settled = true;
		go_live(WATCH_FORKED, begun);
	}
	hmmu_syscall(SYS_munmap, parent, watch_header->region_size);
}

__attribute__((constructor)) static void begin(int argc, char **argv)
{
	const char *where = getenv(WATCH_ENV);
	uint64_t begun = watch_now();

	if (!where || strlen(where) >= sizeof(path))
		return;
	strcpy(path, where);
	if (!take_region(WATCH_SLOTS))
		return;
	watch_stack_learn();
	copy_args(argc, argv);
	hmmu_syscall(SYS_readlinkat, AT_FDCWD, "/proc/self/exe", watch_region->exe,
		     sizeof(watch_region->exe) - 1);
	watch_maps_tell();
	go_live(WATCH_STARTED, begun);
	/* After the library's own, which go_live() registers: in this order in the child. */
	pthread_atfork(before_fork, NULL, in_child);
}
