// SPDX-License-Identifier: MIT
/*
 * source.c - the userfaultfd source: opened once for the process, closed with the last mm.
 */
#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <sys/mman.h>

#include "arch/syscall.h"
#include "futex.h"
#include "instance.h"
#include "notifier/pool.h"
#include "source/userfaultfd/userfaultfd.h"

struct hmmu_uffd *hmmu_uffd;
static const char *refused;
/* Not in memory that a forked child finds zeroed: it closes its copy. */
static int number = -1;
static struct {
	dev_t dev;
	ino_t ino;
} file;

void hmmu_uffd_fork_child(void)
{
	struct hmmu_uffd copy = {.dev = file.dev, .ino = file.ino};

	if (number >= 0 && hmmu_uffd_ours(&copy, number))
		hmmu_syscall(SYS_close, number);
	number = -1;
}

static int watch_fork(void)
{
	static bool done;
	int ret = 0;

	if (!done)
		ret = pthread_atfork(NULL, NULL, hmmu_uffd_fork_child);
	done = !ret;
	return -ret;
}

/* A registered page, to be unmapped when the reader is to stop. */
static int map_stop_page(struct hmmu_uffd *u)
{
	/* Shared: it does not merge with a neighbour, with whose registration it would go. */
	long page = hmmu_syscall(SYS_mmap, NULL, UFFD_PAGE, PROT_NONE,
				 MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	int ret;

	if (hmmu_is_err(page))
		return -ENOMEM;
	ret = hmmu_uffd_register(u->fd, (uint64_t)page, (uint64_t)page + UFFD_PAGE);
	if (ret) {
		refused = "this kernel cannot register an asynchronous write protection";
		hmmu_syscall(SYS_munmap, page, UFFD_PAGE);
		return -EOPNOTSUPP;
	}
	u->stop_page = (void *)page;
	return 0;
}

/* The event of the page wakes the reader. Where it cannot be unmapped (out of memory),
 * dropping what it holds has one, too. */
static void stop_reader(struct hmmu_uffd *u)
{
	bool mapped;

	/* source.pml SX3 */
	hmmu_store_seqcst(&u->stopping, 1);
	while ((mapped = hmmu_syscall(SYS_munmap, u->stop_page, UFFD_PAGE) != 0) &&
	       hmmu_syscall(SYS_madvise, u->stop_page, UFFD_PAGE, MADV_DONTNEED))
		hmmu_uffd_pause(1000000);
	hmmu_store_release(&u->stop_told, 1);
	pthread_join(u->reader, NULL);
	if (mapped)
		hmmu_syscall(SYS_munmap, u->stop_page, UFFD_PAGE);
}

static int start_threads(struct hmmu_uffd *u)
{
	uint64_t all = ~0ULL, old = 0;
	int ret;

	hmmu_syscall(SYS_rt_sigprocmask, 0 /* SIG_BLOCK */, &all, &old, sizeof(all));
	u->running = 1;
	ret = -pthread_create(&u->dispatcher, NULL, hmmu_uffd_dispatcher, u);
	if (ret)
		goto out;
	ret = -pthread_create(&u->reader, NULL, hmmu_uffd_reader, u);
	if (!ret) {
		while (!hmmu_load_acquire(&u->started))
			hmmu_futex_wait((uint32_t *)&u->started, 0, NULL);
		ret = u->started < 0 ? u->started : 0;
		if (ret)
			pthread_join(u->reader, NULL);
	}
	if (ret) {
		hmmu_store_seqcst(&u->stopping, 2);
		hmmu_add_seqcst(&u->head_futex, 1);
		hmmu_futex_wake(&u->head_futex, INT_MAX);
		pthread_join(u->dispatcher, NULL);
	}
out:
	if (ret)
		refused = "its threads cannot be started (a container's filter may refuse "
			  "unshare or close_range)";
	hmmu_syscall(SYS_rt_sigprocmask, 2 /* SIG_SETMASK */, &old, NULL, sizeof(old));
	return ret == -EAGAIN ? -ENOMEM : ret;
}

static void reset(struct hmmu_uffd *u)
{
	/* The notes and the extents are empty: nobody watches. */
	u->lost = u->stopping = u->stop_told = u->lost_told = 0;
	u->stuck = u->leaked = 0;
	u->started = 0;
	u->full = 0;
	u->armed_since_count = 0;
	u->pid = (pid_t)hmmu_syscall(SYS_getpid);
}

static bool readable(const struct uffd_extent *m, void *arg)
{
	(void)m;
	(void)arg;
	return true;
}

static int open_first(struct hmmu_uffd *u)
{
	int ret;

	reset(u);
	if (hmmu_mapping_each(readable, NULL)) {
		refused = "/proc/self/maps cannot be read";
		return -EOPNOTSUPP;
	}
	/* What is mapped there is of no matter. */
	ret = hmmu_mapping_covered((uint64_t)u, (uint64_t)u + UFFD_PAGE);
	if (ret < 0) {
		refused =
			ret == -EACCES
				? "/proc/self/pagemap may not be read: the process is not "
				  "dumpable (set-uid, PR_SET_DUMPABLE), or a policy forbids it"
				: "this kernel has no PAGEMAP_SCAN (Linux 6.7 is needed)";
		return -EOPNOTSUPP;
	}
	ret = watch_fork();
	if (!ret)
		ret = hmmu_uffd_open(u, &refused);
	if (ret)
		return ret;
	number = u->fd;
	file.dev = u->dev;
	file.ino = u->ino;
	ret = hmmu_removal_init(u);
	if (ret) {
		refused = "every real-time signal has a handler";
		goto err_close;
	}
	ret = map_stop_page(u);
	if (ret)
		goto err_close;
	ret = start_threads(u);
	if (!ret)
		return 0;
	hmmu_uffd_unregister(u->fd, (uint64_t)u->stop_page, (uint64_t)u->stop_page + UFFD_PAGE);
	hmmu_syscall(SYS_munmap, u->stop_page, UFFD_PAGE);
err_close:
	hmmu_syscall(SYS_close, u->fd);
	number = -1;
	return ret;
}

/* With the instance's lock. */
static int uffd_open(void)
{
	struct hmmu_uffd *u = hmmu_uffd;
	int ret;

	if (!u) {
		u = hmmu_map(sizeof(*u), true);
		if (!u)
			return -ENOMEM;
		hmmu_uffd = u;
	}
	if (u->users && hmmu_load_acquire(&u->lost)) {
		refused = u->leaked ? "the kernel does not say any more that all is read "
				      "(Linux 6.1, 6.12); close what uses it first"
				    : "its descriptor was closed by the program; close what "
				      "uses it first";
		return -ENODEV;
	}
	if (!u->users) {
		ret = open_first(u);
		if (ret)
			return ret;
		hmmu_store_release(&hmmu_instance_peek()->net, &hmmu_source_userfaultfd);
	}
	u->users++;
	refused = NULL;
	return 0;
}

static void uffd_close(void)
{
	struct hmmu_uffd *u = hmmu_uffd;

	if (--u->users)
		return;
	hmmu_store_release(&hmmu_instance_peek()->net, NULL);
	stop_reader(u);
	hmmu_store_seqcst(&u->stopping, 2);
	hmmu_add_seqcst(&u->head_futex, 1);
	hmmu_futex_wake(&u->head_futex, INT_MAX);
	pthread_join(u->dispatcher, NULL);
	hmmu_add_seqcst(&u->removal_futex, 1);
	hmmu_futex_wake(&u->removal_futex, INT_MAX);
	pthread_join(u->census, NULL);
	if (hmmu_uffd_ours(u, u->fd))
		hmmu_syscall(SYS_close, u->fd);
	number = -1;
}

/* With the instance's lock; nothing that is read from now on belongs to who left.
 * models/spin/source.pml SX2 */
static void uffd_drain(void)
{
	struct hmmu_uffd *u = hmmu_uffd;
	uint64_t upto = hmmu_load_seqcst(&u->marked), spilled;

	while (hmmu_load_seqcst(&u->dispatched) < upto)
		hmmu_uffd_pause(50000);
	/* A later one may have been in the ring: those that were spilled come after. */
	spilled = hmmu_load_seqcst(&u->spilled);
	while (hmmu_load_seqcst(&u->spill_done) < spilled)
		hmmu_uffd_pause(50000);
	/* That all is lost is told under no number. Pairs with hmmu_uffd_lose(): who loses it
	 * later finds nobody detached. */
	while (hmmu_load_seqcst(&u->lost) && !hmmu_load_seqcst(&u->lost_told))
		hmmu_uffd_pause(50000);
	for (unsigned int i = 0; i < UFFD_REMOVALS; i++) {
		struct uffd_removal *r = &u->removals[i];

		while (hmmu_load_acquire(&r->state) == REMOVAL_OPEN && r->number <= upto)
			hmmu_uffd_pause(50000);
	}
}

static int uffd_settle(struct mm_struct *mm)
{
	if (!mm && UFFD_PLANTED(NO_HANDOUT))
		return 0;
	return hmmu_uffd_settle(hmmu_uffd);
}

/* ---- coverage ---------------------------------------------------------- */

/* By any thread of the process. */
static unsigned int by_thread(unsigned int op)
{
	switch (op) {
	case HMMU_OP_MUNMAP:
	case HMMU_OP_MMAP_FIXED:
	case HMMU_OP_MREMAP:
	case HMMU_OP_BRK:
	case HMMU_OP_MADVISE:
	case HMMU_OP_PROCESS_MADVISE:
		return HMMU_BY_RETURN;
	default:
		return HMMU_UNWATCHED; /* the kernel has no event for it */
	}
}

static unsigned int uffd_exactness(unsigned int op, unsigned int caller)
{
	switch (caller) {
	case HMMU_CALLER_LIBC:
	case HMMU_CALLER_LIBC_INTERNAL:
	case HMMU_CALLER_RAW:
	case HMMU_CALLER_LDSO:
		return by_thread(op);
	case HMMU_CALLER_IO_URING:
		return op == HMMU_OP_MADVISE ? HMMU_BY_RETURN : HMMU_UNWATCHED;
	default:
		return HMMU_UNWATCHED;
	}
}

static const char *uffd_why(void)
{
	return refused;
}

const struct hmmu_source hmmu_source_userfaultfd = {
	.name = "userfaultfd",
	.bit = HMMU_SOURCE_USERFAULTFD,
	.open = uffd_open,
	.close = uffd_close,
	.arm = hmmu_uffd_arm,
	.disarm = hmmu_uffd_disarm,
	.settle = uffd_settle,
	.before = hmmu_uffd_before,
	.mute = hmmu_uffd_mute,
	.unmute = hmmu_uffd_unmute,
	.drain = uffd_drain,
	.exactness = uffd_exactness,
	.why = uffd_why,
};
