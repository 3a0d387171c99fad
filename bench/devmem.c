// SPDX-License-Identifier: MIT
/*
 * devmem.c - pages to a device and back, side by side with the bare calls that do it: one
 * UFFDIO_MOVE of the whole range, and a monitor that answers each touch of an empty page, by
 * moving it home as the library does, or by a copy of a page that is always at hand.
 *
 * In all processes the pages have memory, are small and were never shared; the monitors run
 * on the toucher's CPU. A touch is the median of its batch, the rest are means per page.
 */
#include "child.h"

#include <errno.h>
#include <linux/userfaultfd.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <hmmu/migrate.h>

#define PAGE 4096ul
#define PAGES 16384ul
#define BYTES (PAGES * PAGE)

struct move {
	uint64_t dst, src, len, mode;
	int64_t moved;
};
#define MOVE _IOWR(0xaa, 0x05, struct move)

enum side { OURS, BARE, COPIES, SIDES };
enum operation { OUT, BACK, TOUCH };

/* ---- in the child ---- */

static char *memory;
static char *place; /* BARE: where it goes */
static bool copies; /* COPIES: the monitor does */
static int fd;
static struct mm_struct *mm;
static struct dev_pagemap *device;
static unsigned long src[PAGES], dst[PAGES];

static void die(const char *what)
{
	perror(what);
	_exit(1);
}

static void *pages(void)
{
	char *p = mmap(NULL, BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED || madvise(p, BYTES, MADV_NOHUGEPAGE))
		die("bench: mmap");
	return p;
}

static void bare_move(char *to, char *from, size_t bytes)
{
	struct move move = {(uint64_t)to, (uint64_t)from, bytes, 0, 0};

	if (ioctl(fd, MOVE, &move))
		die("bench: UFFDIO_MOVE");
}

static void bare_copy(char *to)
{
	static char ones[PAGE] = {1};
	struct uffdio_copy copy = {
		.dst = (uint64_t)to,
		.src = (uint64_t)ones,
		.len = PAGE,
	};

	if (ioctl(fd, UFFDIO_COPY, &copy))
		die("bench: UFFDIO_COPY");
}

static void *monitor(void *arg)
{
	struct uffd_msg msg;

	while (read(fd, &msg, sizeof(msg)) == (ssize_t)sizeof(msg)) {
		size_t at = (msg.arg.pagefault.address & -PAGE) - (uint64_t)memory;

		if (copies)
			bare_copy(memory + at);
		else
			bare_move(memory + at, place + at, PAGE);
	}
	return arg;
}

static int open_bare(void)
{
	struct uffdio_api api = {.api = UFFD_API};
	struct uffdio_register reg = {
		.range = {.start = (uint64_t)memory, .len = BYTES},
		.mode = UFFDIO_REGISTER_MODE_MISSING,
	};
	pthread_t thread;

	fd = (int)syscall(SYS_userfaultfd, 0);
	if (fd < 0 || ioctl(fd, UFFDIO_API, &api))
		return -EPERM;
	place = pages();
	if (ioctl(fd, UFFDIO_REGISTER, &reg))
		return -errno;
	reg.range.start = (uint64_t)place;
	if (ioctl(fd, UFFDIO_REGISTER, &reg))
		return -errno;
	return -pthread_create(&thread, NULL, monitor, NULL);
}

static void revoke_page(void *context, unsigned long addr, unsigned long pfn,
			enum mmu_notifier_event why)
{
}

static int open_ours(void)
{
	static const struct dev_pagemap_ops ops = {.revoke = revoke_page};
	struct dev_pagemap_options arena = {.size = sizeof(arena), .bytes = 4 * BYTES};
	int err = hmmu_mm_open(&mm, NULL);

	return err ? err : hmmu_devmem_open(&device, mm, &ops, NULL, &arena);
}

static int set_up(const void *arg)
{
	int err;

	memory = pages();
	memset(memory, 1, BYTES);
	copies = *(const enum side *)arg == COPIES;
	err = *(const enum side *)arg == OURS ? open_ours() : open_bare();
	return err;
}

static void migrate(size_t n, unsigned long flags)
{
	struct migrate_vma m = {
		.mm = mm,
		.pagemap = device,
		.src = src,
		.dst = dst,
		.start = (unsigned long)memory,
		.end = (unsigned long)memory + n * PAGE,
		.flags = flags,
	};
	size_t moved = 0;

	if (migrate_vma_setup(&m))
		die("bench: migrate_vma_setup");
	if (flags == MIGRATE_VMA_SELECT_SYSTEM)
		hmmu_devmem_alloc_for(&m);
	else
		for (size_t i = 0; i < n; i++)
			dst[i] = MIGRATE_PFN_VALID;
	migrate_vma_pages(&m);
	for (size_t i = 0; i < n; i++)
		moved += (src[i] & MIGRATE_PFN_MIGRATE) != 0;
	migrate_vma_finalize(&m);
	if (moved != n) {
		fputs("bench: a page did not move\n", stderr);
		_exit(1);
	}
}

static double out(enum side side, size_t n)
{
	double from = now_ns();

	if (side != OURS)
		bare_move(place, memory, n * PAGE);
	else
		migrate(n, MIGRATE_VMA_SELECT_SYSTEM);
	return now_ns() - from;
}

static double back(enum side side, size_t n)
{
	double from = now_ns();

	if (side != OURS)
		bare_move(memory, place, n * PAGE);
	else
		migrate(n, MIGRATE_VMA_SELECT_DEVICE_PRIVATE);
	return now_ns() - from;
}

/* Of one page; whole migrations of all pages only: a short one is another figure. */
static double bulk(enum side side, enum operation operation, uint64_t pages)
{
	uint64_t rounds = (pages + PAGES - 1) / PAGES;
	double ns = 0;

	for (uint64_t k = 0; k < rounds; k++) {
		double there = out(side, PAGES), home = back(side, PAGES);

		ns += operation == OUT ? there : home;
	}
	return ns / (double)(rounds * PAGES);
}

/* The median, times n. */
static double touch(enum side side, size_t n)
{
	static double each[PAGES];
	volatile char *p = memory;

	if (side == COPIES) {
		if (madvise(memory, n * PAGE, MADV_DONTNEED))
			die("bench: madvise");
	} else {
		out(side, n);
	}
	for (size_t i = 0; i < n; i++) {
		double from = now_ns();

		p[i * PAGE]++;
		each[i] = now_ns() - from;
		if (p[i * PAGE] == 1)
			die("bench: an empty page");
	}
	return percentile(each, n, 0.5) * (double)n;
}

static double obey(const void *arg, const struct order *order)
{
	enum side side = *(const enum side *)arg;
	double ns = 0;

	if (order->operation != TOUCH)
		return bulk(side, order->operation, order->iters) * (double)order->iters;
	for (uint64_t left = order->iters; left;) {
		size_t n = left < PAGES ? left : PAGES;

		left -= n;
		ns += touch(side, n);
	}
	return ns;
}

/* ---- in the parent ---- */

void bench_devmem(void)
{
	static const struct {
		enum operation operation;
		enum side side;
		const char *name, *base;
	} rows[] = {
		{OUT, BARE, "16,384 pages to the device, each", "UFFDIO_MOVE"},
		{BACK, BARE, "16,384 pages back, each", "UFFDIO_MOVE"},
		{TOUCH, BARE, "a CPU touches a page on the device", "bare, MOVE"},
		{TOUCH, COPIES, "... beside a page that is copied", "bare, COPY"},
	};
	static enum side sides[SIDES] = {OURS, BARE, COPIES};
	struct child children[SIDES];
	int err[SIDES];

	err[OURS] = child_spawn(&children[OURS], "hmmu", set_up, obey, &sides[OURS]);
	err[BARE] = child_spawn(&children[BARE], "bare", set_up, obey, &sides[BARE]);
	err[COPIES] = child_spawn(&children[COPIES], "copies", set_up, obey, &sides[COPIES]);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct line line = line_of("device memory", "%s", rows[i].name);
		enum side side = rows[i].side;
		struct job jobs[] = {{&children[OURS], rows[i].operation},
				     {&children[side], rows[i].operation}};
		struct batch ours = {.time = child_time, .arg = &jobs[0]};
		struct batch bare = {.time = child_time, .arg = &jobs[1]};

		if (!wanted(line.group, line.name))
			continue;
		line.base_name = rows[i].base;
		goal(&line, GOAL_TIMES, 1.3);
		if (err[OURS] || err[side]) {
			line.not_available = true;
			snprintf(line.note, sizeof(line.note), "%s",
				 strerror(err[OURS] ? -err[OURS] : -err[side]));
		} else {
			measure(&line, &ours, &bare);
		}
		report(&line);
	}
	child_end(&children[COPIES]);
	child_end(&children[BARE]);
	child_end(&children[OURS]);
}
