// SPDX-License-Identifier: MIT
/*
 * devmirror.c - the life of a mirror (hmmu/mirror.h): what the device reads is what the memory
 * holds, what it writes is there, or it is an error that the header names; and dirty() misses
 * nothing, whatever failed in between.
 */
#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include <hmmu/mirror.h>

#include "inject.h"
#include "life.h"
#include "arch/syscall.h"

#define PAGES 24

static struct mm_struct *mm;
static struct hmmu_mirror *mirror;
static unsigned char *memory, value;
static unsigned char replica[PAGES];

static void store(size_t first, size_t n)
{
	value++;
	for (size_t i = first; i < first + n; i++)
		memory[i * PAGE] = (unsigned char)(value + i);
}

/* As the program's munmap and mmap of the same address. @bracket: told by itself. */
static void change(size_t first, size_t n, bool bracket)
{
	unsigned long at = (unsigned long)memory + first * PAGE;
	struct mmu_notifier_range range;

	mmu_notifier_range_init(&range, MMU_NOTIFY_UNMAP, 0, mm, at, at + n * PAGE);
	if (bracket)
		mmu_notifier_invalidate_range_start(&range);
	hmmu_syscall6(SYS_mmap, (long)at, (long)(n * PAGE), PROT_READ | PROT_WRITE,
		      MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
	if (bracket) {
		store(first, n);
		mmu_notifier_invalidate_range_end(&range);
	}
}

static const int errors[] = {EFAULT, EPERM, ETIMEDOUT, ENODEV, ENOMEM, EMFILE, EOPNOTSUPP, 0};

static void answered(const char *call, long ret)
{
	documented(call, (int)ret, errors);
	if (ret && !fault_failed())
		broken("devmirror: %s answered %ld, and nothing had failed", call, ret);
}

static void device_reads(void)
{
	struct timespec deadline = fault_deadline(2);

	for (size_t i = 0; i < PAGES; i += 5) {
		unsigned char byte = 0;
		long n = quiet(hmmu_mirror_read(mirror, (unsigned long)memory + i * PAGE, &byte,
						1, &deadline));

		answered("hmmu_mirror_read", n == 1 ? 0 : n);
		if (n == 1 && byte != memory[i * PAGE])
			broken("stale: the device has %u, the memory %u", byte,
			       memory[i * PAGE]);
	}
}

static void device_writes(void)
{
	struct timespec deadline = fault_deadline(2);
	unsigned char byte = ++value;
	long n = quiet(hmmu_mirror_write(mirror, (unsigned long)memory + 3 * PAGE, &byte, 1,
					 &deadline));

	answered("hmmu_mirror_write", n == 1 ? 0 : n);
	if (n == 1 && memory[3 * PAGE] != byte)
		broken("devmirror: what the device wrote is not there");
}

static void device_maps(void)
{
	struct timespec deadline = fault_deadline(2);
	struct hmmu_mirror_stats stats;
	unsigned long done = 0;
	int ret = quiet(hmmu_mirror_map(mirror, (unsigned long)memory, PAGES, HMMU_MIRROR_WRITE,
					&done, &deadline));

	answered("hmmu_mirror_map", ret);
	if (!ret != (done == PAGES))
		broken("devmirror: map answered %d, %lu pages are done", ret, done);
	quiet_void(hmmu_mirror_stat(mirror, &stats));
	if (stats.entries < done || stats.entries > PAGES)
		broken("devmirror: %lu pages are done, %lu in the table", done,
		       (unsigned long)stats.entries);
}

static int tell(void *arg, unsigned long start, unsigned long npages)
{
	size_t first = (start - (unsigned long)memory) / PAGE;

	(void)arg;
	for (size_t i = first; i < first + npages; i++)
		replica[i] = memory[i * PAGE];
	return 0;
}

/* What succeeds has missed nothing, whatever calls before it failed. */
static void track(void)
{
	struct timespec deadline = fault_deadline(2);
	int ret = quiet(hmmu_mirror_dirty(mirror, (unsigned long)memory, PAGES * PAGE, tell,
					  NULL, &deadline));

	if (ret == -EACCES && fault_failed())
		return;
	answered("hmmu_mirror_dirty", ret);
	for (size_t i = 0; i < PAGES && !ret; i++)
		if (replica[i] != memory[i * PAGE])
			broken("missed: page %zu has changed", i);
}

static void use(bool dirty)
{
	for (int i = 0; i < 3; i++) {
		stage("devmirror: read");
		device_reads();
		stage("devmirror: change");
		change(4, 4, !dirty);
		if (dirty)
			track();
		store(i, 2);
		device_reads();
		stage("devmirror: map");
		device_maps();
		stage("devmirror: write");
		device_writes();
		hmmu_mirror_drop(mirror, (unsigned long)memory,
				 (unsigned long)memory + 2 * PAGE);
		device_reads();
		if (dirty) {
			stage("devmirror: dirty");
			track();
		}
	}
}

static void open_and_use(bool again, bool dirty)
{
	struct hmmu_mirror_options o = {.size = sizeof(o),
					.start = (unsigned long)memory,
					.length = PAGES * PAGE,
					.flags = dirty ? HMMU_MIRROR_DIRTY : 0};
	int ret;

	stage("devmirror: open");
	ret = quiet(hmmu_mirror_open(&mirror, mm, NULL, NULL, &o));
	DOCUMENTED("hmmu_mirror_open", ret, ENOMEM, EMFILE);
	if (ret && (again || !fault_failed()))
		broken("second: the mirror cannot be opened: %d", ret);
	if (ret)
		return;
	use(dirty);
	stage("devmirror: close");
	quiet_void(hmmu_mirror_close(mirror));
}

static void run(bool again, unsigned int sources)
{
	struct hmmu_mm_options o = {.size = sizeof(o), .sources = sources};
	int ret = hmmu_mm_open(&mm, &o);

	DOCUMENTED("open", ret, ENOMEM, EOPNOTSUPP, EMFILE);
	if (ret == -EOPNOTSUPP && !fault_failed())
		broken("open answered %d", ret);
	if (ret && again)
		broken("second: open answers %d still", ret);
	if (ret)
		return;
	memory = fresh(PAGES * PAGE);
	memset(replica, 0, sizeof(replica));
	store(0, PAGES);
	open_and_use(again, sources == HMMU_SOURCE_USERFAULTFD);
	hmmu_syscall6(SYS_munmap, (long)memory, PAGES * PAGE, 0, 0, 0, 0);
	stage("close");
	if (hmmu_mm_close(mm))
		broken("undocumented: close");
}

void devmirror_run(bool again)
{
	run(again, HMMU_SOURCE_EXPLICIT);
}

void devmirror_dirty_run(bool again)
{
	run(again, HMMU_SOURCE_USERFAULTFD);
}
