/* SPDX-License-Identifier: MIT */
/*
 * dev.h - a device with memory of its own, for the tests of <hmmu/migrate.h>.
 *
 * The device reaches its pages by a table (device address of page i of a range), under its
 * lock; revoke() takes an entry out. It counts what it is told. With net.h: each test is a
 * process of its own, and one that hangs is ended.
 */
#ifndef HMMU_TEST_DEV_H
#define HMMU_TEST_DEV_H

#include "net.h"

#include <hmmu/migrate.h>

#include "devmem/devmem.h"

#define DEV_MAX 2048 /* pages of a migration */

struct dev {
	struct mm_struct *mm;
	struct dev_pagemap *map;
	uint32_t revoked, freed;
	unsigned long last_addr, last_pfn;
	enum mmu_notifier_event last_why;
	uint32_t why[8];
	/* The table: where the device finds the pages of [base, base + pages). */
	pthread_mutex_t lock;
	char *base;
	size_t pages;
	uint64_t *table; /* device address, 0: not mapped */
	void (*on_revoke)(struct dev *d, unsigned long addr, enum mmu_notifier_event why);
	void (*on_free)(struct dev *d, unsigned long pfn);
};

/* Exits with 77 if this kernel or this user cannot. */
void dev_open(struct dev *d, struct mm_struct *mm, size_t pages, void *owner);
void dev_close(struct dev *d);
/* The device's table for the range. */
void dev_table(struct dev *d, void *base, size_t pages);

/* A migration, step by step. */
struct trip {
	struct migrate_vma args;
	unsigned long src[DEV_MAX], dst[DEV_MAX];
	struct dev *dev;
};
/* The caller's memory must not migrate: trips come from here. */
struct trip *trip_new(struct dev *d, void *p, size_t pages, unsigned long select);
void trip_setup(struct trip *t);
/* dst for every page that src offers. How many. */
size_t trip_alloc(struct trip *t);
void trip_pages(struct trip *t);
/* Slots of what stayed are given back; the table learns. How many went. */
size_t trip_finalize(struct trip *t);
size_t trip_all(struct trip *t);
/* The device leaves them, before the driver itself brings them home. */
void trip_leave(struct trip *t);

/* How many went out, or came home. */
size_t dev_out(struct dev *d, void *p, size_t pages);
size_t dev_home(struct dev *d, void *p, size_t pages);
/* Is the page of @p on the device: its address there, or NULL. */
char *dev_at(struct dev *d, const void *p);
/* Waits until nothing is under way but migrations. */
void dev_settle(struct dev *d);
struct hmmu_devmem_stats dev_stat(struct dev *d);
/* All went home or away: nothing is in use, and the sums hold. */
void dev_check(struct dev *d);

/* Memory whose page i holds (seed, i) at its begin and end. */
void fill_pages(char *p, size_t pages, uint64_t seed);
bool pages_are(const char *p, size_t pages, uint64_t seed);
bool pages_zero(const char *p, size_t pages);
/* A device reads its page: the same. */
bool away_is(struct dev *d, const char *p, size_t i, uint64_t seed);
uint64_t page_word(uint64_t seed, size_t i);

/* Planted: HMMU_DEVMEM_PLANT is the name of a bug. */
void dev_init(int argc, char **argv);

/* A gate of devmem's, as net_hold(). */
void dev_hold(enum dm_gate gate, const void *addr);
/* The first @skip who come there go on. */
void dev_hold_after(enum dm_gate gate, const void *addr, uint32_t skip);
void dev_reached(enum dm_gate gate);
void dev_release(enum dm_gate gate);

struct touch {
	char *p;
	char value;
};
void touch_read(void *touch);
void touch_write(void *touch);

#endif /* HMMU_TEST_DEV_H */
