// SPDX-License-Identifier: MIT
/*
 * devmem.c - pages go to a device and come home (hmmu/migrate.h) while something fails: no
 * content is lost, a change finds its pages at home, the figures add up, and after close
 * nothing is registered.
 */
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <hmmu/migrate.h>

#include "inject.h"
#include "life.h"
#include "arch/syscall.h"
#include "devmem/find.h"

#define PAGES 40
#define EMPTY 8	 /* of those, the last: nobody has written them */
#define SLOTS 64 /* of the arena */
#define RW (PROT_READ | PROT_WRITE)
#define ANON (MAP_PRIVATE | MAP_ANONYMOUS)

static struct mm_struct *mm;
static struct dev_pagemap *map;
static char owner;
static unsigned char *memory;
static uint64_t truth[PAGES], value;
static unsigned long src[PAGES], dst[PAGES];

static unsigned char *at(size_t page)
{
	return memory + page * PAGE;
}

static void store(size_t first, size_t n)
{
	for (size_t i = first; i < first + n; i++) {
		truth[i] = ++value;
		*(volatile uint64_t *)at(i) = truth[i];
	}
}

static void check(size_t first, size_t n, const char *after)
{
	for (size_t i = first; i < first + n; i++) {
		uint64_t got = *(volatile uint64_t *)at(i);

		if (got != truth[i])
			broken("lost: page %zu holds %llu, not %llu, after %s", i,
			       (unsigned long long)got, (unsigned long long)truth[i], after);
	}
}

/* The device's own look, which calls nothing home. How many it has. */
static size_t check_away(size_t first, size_t n, const char *after)
{
	size_t away = 0;

	for (size_t i = first; i < first + n; i++) {
		unsigned long pfn;

		if (!hmmu_devmem_find((unsigned long)at(i), &owner, &pfn))
			continue;
		away++;
		if (*(volatile uint64_t *)(pfn * PAGE) != truth[i])
			broken("lost: the device has not the content of page %zu, after %s", i,
			       after);
	}
	return away;
}

static void on_revoke(void *context, unsigned long addr, unsigned long pfn,
		      enum mmu_notifier_event why)
{
	(void)context;
	(void)pfn;
	(void)why;
	if (addr & (PAGE - 1))
		broken("devmem: revoke of %lx", addr);
}

/* ---- the driver ---------------------------------------------------------- */

static void answered(const char *call, int ret)
{
	DOCUMENTED(call, ret, ENOMEM, ENODEV, EOPNOTSUPP, EAGAIN);
	if (ret && !fault_failed())
		broken("devmem: %s answered %d, and nothing had failed", call, ret);
}

/* @dirty: the device has written in a slot before. */
static void migrate(size_t first, size_t n, unsigned long select, bool dirty)
{
	struct migrate_vma args = {
		.mm = mm,
		.pagemap = map,
		.src = src,
		.dst = dst,
		.start = (unsigned long)at(first),
		.end = (unsigned long)at(first + n),
		.pgmap_owner = &owner,
		.flags = select,
	};
	int ret = quiet(migrate_vma_setup(&args));

	answered("migrate_vma_setup", ret);
	if (ret)
		return;
	if (select == MIGRATE_VMA_SELECT_SYSTEM)
		hmmu_devmem_alloc_for(&args);
	for (size_t i = 0; i < n && select != MIGRATE_VMA_SELECT_SYSTEM; i++)
		dst[i] = src[i] ? MIGRATE_PFN_VALID : 0;
	if (dirty && dst[n - 1])
		memset((void *)(migrate_pfn_to_pfn(dst[n - 1]) * PAGE), 0x55, PAGE);
	quiet_void(migrate_vma_pages(&args));
	quiet_void(hmmu_devmem_free_rest(&args));
	quiet_void(migrate_vma_finalize(&args));
	check_away(first, n, "a migration");
}

static void exclusive(size_t first, size_t n)
{
	unsigned long pfns[PAGES];
	int ret = quiet(make_device_exclusive_range(map, (unsigned long)at(first),
						    (unsigned long)at(first + n), pfns));

	if (ret == -EACCES && fault_failed())
		return;
	answered("make_device_exclusive_range", ret < 0 ? ret : 0);
	for (size_t i = 0; i < n && ret >= 0; i++) {
		if (!pfns[i])
			continue;
		truth[first + i] = ++value;
		*(volatile uint64_t *)(pfns[i] * PAGE) = value; /* as an atomic operation */
	}
	check(first, n, "an exclusive access");
}

/* ---- changes --------------------------------------------------------------- */

static void now_zero(size_t first, size_t n)
{
	for (size_t i = first; i < first + n; i++)
		truth[i] = 0;
}

static void raw_drop(size_t first, size_t n)
{
	hmmu_syscall6(SYS_madvise, (long)at(first), (long)(n * PAGE), MADV_DONTNEED, 0, 0, 0);
	now_zero(first, n);
	check(first, n, "a raw MADV_DONTNEED");
}

static void raw_move(size_t first, size_t n)
{
	unsigned char *to = fresh(n * PAGE);
	const int flags = MREMAP_MAYMOVE | MREMAP_FIXED;

	hmmu_syscall6(SYS_mremap, (long)at(first), (long)(n * PAGE), (long)(n * PAGE), flags,
		      (long)to, 0);
	for (size_t i = 0; i < n; i += 2)
		if (*(volatile uint64_t *)(to + i * PAGE) != truth[first + i])
			broken("lost: page %zu, after a raw mremap()", first + i);
	hmmu_syscall6(SYS_mremap, (long)to, (long)(n * PAGE), (long)(n * PAGE), flags,
		      (long)at(first), 0);
	check(first, n, "two raw mremap()s");
}

static void libc_protect(size_t first, size_t n)
{
	int ret;

	fault->in_app = 1;
	ret = mprotect(at(first), n * PAGE, PROT_READ);
	fault->in_app = 0;
	if (!ret && check_away(first, n, "mprotect"))
		broken("away: mprotect() is over, and the device has pages");
	check(first, n, "mprotect");
	hmmu_syscall6(SYS_mprotect, (long)at(first), (long)(n * PAGE), RW, 0, 0, 0);
}

static void libc_unmap(size_t first, size_t n)
{
	int ret;

	fault->in_app = 1;
	ret = munmap(at(first), n * PAGE);
	fault->in_app = 0;
	if (!ret) {
		if (check_away(first, n, "munmap"))
			broken("away: munmap() is over, and the device has pages");
		now_zero(first, n);
		hmmu_syscall6(SYS_mmap, (long)at(first), (long)(n * PAGE), RW,
			      ANON | MAP_FIXED_NOREPLACE, -1, 0);
	}
	check(first, n, "munmap");
}

static void libc_fork(void)
{
	int status = -1;
	pid_t pid = fork();

	if (!pid) {
		check(0, PAGES, "fork, in the child");
		hmmu_syscall6(SYS_exit_group, 0, 0, 0, 0, 0, 0);
	}
	if (pid < 0)
		broken("the test cannot fork");
	while (hmmu_syscall6(SYS_wait4, pid, (long)&status, 0, 0, 0, 0) == -EINTR)
		;
	if (status)
		broken("devmem: the child left with %x", (unsigned int)status);
}

/* Its pages are shared with a child, which only sleeps. */
static void out_while_shared(size_t first, size_t n)
{
	pid_t pid = (pid_t)hmmu_syscall6(SYS_clone, SIGCHLD, 0, 0, 0, 0, 0);

	if (!pid)
		for (;;)
			hmmu_syscall6(SYS_ppoll, 0, 0, 0, 0, 0, 0);
	migrate(first, n, MIGRATE_VMA_SELECT_SYSTEM, false);
	hmmu_syscall6(SYS_kill, pid, SIGKILL, 0, 0, 0, 0);
	hmmu_syscall6(SYS_wait4, pid, 0, 0, 0, 0, 0);
}

/* ---- mlocked memory --------------------------------------------------------- */

static void locks(long nr, size_t first, size_t n, int flags)
{
	hmmu_syscall6(nr, (long)at(first), (long)(n * PAGE), flags, 0, 0, 0);
}

/* Home is locked, or unlocked, while pages are away. */
static void locked(size_t first, size_t n)
{
	locks(SYS_mlock2, first, n, 0);
	migrate(first, n, MIGRATE_VMA_SELECT_SYSTEM, true);
	check(first, 2, "a touch of what is locked");
	locks(SYS_munlock, first, n / 2, 0);
	check(first + 2, 2, "munlock");
	migrate(first, n, MIGRATE_VMA_SELECT_DEVICE_PRIVATE, false);
	check(first, n, "home, locked");
	locks(SYS_munlock, first, n, 0);
	migrate(first, n, MIGRATE_VMA_SELECT_SYSTEM, false);
	locks(SYS_mlock2, first, n / 2, 0);
	check(first, n / 2, "mlock");
	locks(SYS_mlock2, first, n, MLOCK_ONFAULT);
	migrate(first, n, MIGRATE_VMA_SELECT_DEVICE_PRIVATE, false);
	check(first, n, "home, locked since");
	locks(SYS_munlock, first, n, 0);
}

/* ---- a life ------------------------------------------------------------------ */

/* The reader may not be done yet with what it has brought home. */
static void figures(void)
{
	struct hmmu_devmem_stats s;

	for (int i = 0; i < 3000; i++) {
		quiet_void(hmmu_devmem_stat(map, &s));
		if (s.used == s.resident && s.moved_out == s.moved_back + s.touched +
								   s.brought + s.dropped +
								   s.resident)
			return;
		if (i == 1000 && fault_fails()) {
			fault_disarm();
			fault->waits++;
		}
		usleep(500);
	}
	broken("figures: used %u resident %u out %u back %u touched %u brought %u dropped %u",
	       (unsigned int)s.used, (unsigned int)s.resident, (unsigned int)s.moved_out,
	       (unsigned int)s.moved_back, (unsigned int)s.touched, (unsigned int)s.brought,
	       (unsigned int)s.dropped);
}

static void use(void)
{
	stage("devmem: out");
	out_while_shared(0, PAGES / 2);
	migrate(PAGES / 2, PAGES / 2, MIGRATE_VMA_SELECT_SYSTEM, true);
	stage("devmem: touch");
	check(0, 3, "a touch");
	store(3, 2);
	check(PAGES - 3, 2, "a touch of an empty page");
	figures();
	stage("devmem: home");
	migrate(4, 8, MIGRATE_VMA_SELECT_DEVICE_PRIVATE, false);
	check(4, 8, "home");
	stage("devmem: mlock");
	locked(8, 16);
	figures();
	stage("devmem: exclusive");
	exclusive(6, 4);
	stage("devmem: raw changes");
	raw_drop(12, 3);
	raw_move(16, 4);
	figures();
	stage("devmem: changes");
	libc_protect(20, 4);
	libc_unmap(24, 3);
	stage("devmem: fork");
	libc_fork();
	check(0, PAGES, "all");
	figures();
	stage("devmem: out again");
	migrate(0, PAGES, MIGRATE_VMA_SELECT_SYSTEM, false);
}

static void shut(void)
{
	int ret;

	stage("devmem: close");
	ret = quiet(hmmu_devmem_close(map));
	DOCUMENTED("hmmu_devmem_close", ret, EBUSY);
	if (ret && !fault_failed())
		broken("devmem: close answered %d, and nothing had failed", ret);
	if (!ret)
		return;
	fault->waits += fault_fails();
	fault_disarm();
	ret = quiet(hmmu_devmem_close(map));
	if (ret)
		broken("second: close answers %d still, and nothing fails any more", ret);
}

static void open_and_use(bool again)
{
	const struct dev_pagemap_options options = {
		.size = sizeof(options), .bytes = SLOTS * PAGE, .owner = &owner};
	const struct dev_pagemap_ops ops = {.revoke = on_revoke};
	int ret;

	stage("devmem: open");
	ret = quiet(hmmu_devmem_open(&map, mm, &ops, NULL, &options));
	DOCUMENTED("hmmu_devmem_open", ret, EPERM, EOPNOTSUPP, EBUSY, ENOMEM, EMFILE, ENODEV);
	if (ret && (again || !fault_failed()))
		broken("second: no arena can be opened: %d", ret);
	if (ret)
		return;
	use();
	shut();
	check(0, PAGES, "close");
}

void devmem_run(bool again)
{
	struct hmmu_mm_options o = {.size = sizeof(o),
				    .sources = HMMU_SOURCE_HOOKS | HMMU_SOURCE_USERFAULTFD};
	int ret = hmmu_mm_open(&mm, &o);

	DOCUMENTED("open", ret, ENOMEM, EOPNOTSUPP, EMFILE);
	if (ret && !fault_failed())
		broken("open answered %d", ret);
	if (ret && again)
		broken("second: open answers %d still", ret);
	if (ret)
		return;
	memory = fresh(PAGES * PAGE);
	memset(truth, 0, sizeof(truth));
	store(0, PAGES - EMPTY);
	open_and_use(again);
	stage("close");
	if (hmmu_mm_close(mm))
		broken("undocumented: close");
	check_unregistered(memory, PAGES * PAGE);
	hmmu_syscall6(SYS_munmap, (long)memory, PAGES * PAGE, 0, 0, 0, 0);
}
