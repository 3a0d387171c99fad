// SPDX-License-Identifier: MIT
/* mirror.c - the life of an io_uring mirror: what the device reads is never stale. */
#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "inject.h"
#include "life.h"
#include "uring_mirror.h"
#include "arch/syscall.h"

#define SLOTS 4
#define DEPTH 4
#define BLOCKS 6 /* more than slots: some are evicted */

static struct mm_struct *mm;
static struct uring_mirror *mirror;
static struct uring_window *window;
static unsigned char *memory, value;

static void store(void)
{
	value++;
	for (int i = 0; i < BLOCKS; i++)
		memory[i * PAGE] = (unsigned char)(value + i);
}

/* As the program's munmap and mmap of the same address, bracketed by itself. */
static void change(void)
{
	struct mmu_notifier_range range;

	mmu_notifier_range_init(&range, MMU_NOTIFY_UNMAP, 0, mm, (unsigned long)memory,
				(unsigned long)memory + BLOCKS * PAGE);
	mmu_notifier_invalidate_range_start(&range);
	hmmu_syscall6(SYS_mmap, (long)memory, BLOCKS * PAGE, PROT_READ | PROT_WRITE,
		      MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
	store();
	mmu_notifier_invalidate_range_end(&range);
}

static const int access_errors[] = {ESTALE, EFAULT, ENOMEM, ETIMEDOUT, ENODEV, EIO, ECANCELED,
				    /* "others: what io_uring answered" */
				    EPERM, EINVAL, EAGAIN, EBUSY, 0};

/* What the device does is right, or an error. */
static void access_all(unsigned int flags)
{
	struct uring_access a[DEPTH];
	struct timespec deadline;
	int ret;

	clock_gettime(CLOCK_MONOTONIC, &deadline);
	deadline.tv_sec += 2;
	for (int first = 0; first < BLOCKS; first += DEPTH) {
		int n = BLOCKS - first < DEPTH ? BLOCKS - first : DEPTH;

		for (int i = 0; i < n; i++) {
			a[i] = (struct uring_access){
				.window = window,
				.addr = (unsigned long)memory + (first + i) * PAGE,
				.len = 1,
				.flags = flags,
			};
			if (flags & URING_WRITE)
				*(unsigned char *)uring_mirror_buffer(mirror, i) =
					(unsigned char)(100 + first + i);
		}
		ret = uring_mirror_run(mirror, a, n, &deadline);
		documented("uring_mirror_run", ret, access_errors);
		if (ret && !fault_failed())
			broken("mirror: run answered %d, and nothing had failed", ret);
		for (int i = 0; i < n && !ret; i++) {
			unsigned char *at = (unsigned char *)a[i].addr;
			unsigned char device = *(unsigned char *)uring_mirror_buffer(mirror, i);

			if (a[i].result < 0 && a[i].result == -EINPROGRESS)
				broken("undocumented: an access is left -EINPROGRESS");
			if (a[i].result < 0)
				documented("an access", a[i].result, access_errors);
			if (a[i].result < 0 && !fault_failed())
				broken("mirror: an access failed, and nothing had");
			if (a[i].result == 1 && *at != device)
				broken("stale: the device has %u, the memory %u", device, *at);
		}
	}
}

static int open_mirror(bool again)
{
	const struct uring_mirror_options o = {
		.size = sizeof(o), .slots = SLOTS, .depth = DEPTH};
	int ret = uring_mirror_open(&mirror, mm, &o);

	DOCUMENTED("uring_mirror_open", ret, EINVAL, ENOSYS, EPERM, ENOMEM, EMFILE, EIO, EACCES,
		   ENOSPC, EFAULT, EINTR, EAGAIN);
	if (ret && again)
		broken("second: the mirror cannot be opened: %d", ret);
	if (ret && !uring_mirror_why(ret)[0])
		broken("why: uring_mirror_why() is empty");
	return ret;
}

static void use(void)
{
	int ret;

	stage("mirror: watch");
	ret = uring_mirror_watch(mirror, (unsigned long)memory, BLOCKS * PAGE, &window);
	DOCUMENTED("uring_mirror_watch", ret, ENOMEM);
	if (ret)
		return;
	for (int i = 0; i < 3; i++) {
		stage("mirror: read");
		access_all(URING_READ);
		stage("mirror: change");
		change();
		stage("mirror: write");
		access_all(URING_WRITE);
		store();
	}
	uring_mirror_drop(window, (unsigned long)memory, 2 * PAGE);
	access_all(URING_READ);
	stage("mirror: unwatch");
	uring_mirror_unwatch(window);
}

void mirror_run(bool again)
{
	struct hmmu_mm_options o = {.size = sizeof(o), .sources = HMMU_SOURCE_EXPLICIT};
	int ret = hmmu_mm_open(&mm, &o);

	DOCUMENTED("open", ret, ENOMEM);
	if (ret && again)
		broken("second: open answers %d still", ret);
	if (ret)
		return;
	memory = fresh(BLOCKS * PAGE);
	store();
	stage("mirror: open");
	if (!open_mirror(again)) {
		use();
		stage("mirror: close");
		uring_mirror_close(mirror);
	}
	hmmu_syscall6(SYS_munmap, (long)memory, BLOCKS * PAGE, 0, 0, 0, 0);
	stage("close");
	if (hmmu_mm_close(mm))
		broken("undocumented: close");
}
