// SPDX-License-Identifier: MIT
/*
 * device.c - a device thread: batches of accesses through the mirror, each judged.
 *
 * It never touches the regions with the CPU, takes no lock and allocates nothing in a
 * batch: a mutator may be waiting for it inside a callback, inside libc.
 */
#include "torture.h"

#include <errno.h>
#include <sched.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#define WRITE_EVERY 16 /* one access in so many is a write */
#define WRITE_AT 1024u /* in the page: eight bytes per device */
#define WAIT_MS 100    /* for invalidations; the longest here takes two */

/* One access of a batch. */
struct job {
	struct uring_access access;
	struct region *region;
	unsigned int page;
	uint64_t before;
};

struct batch {
	struct job jobs[BATCH];
	unsigned int n; /* prepared or refused */
	bool queued[BATCH];
	bool wrote; /* at most one write: its truth is read at once */
};

static size_t page_size(void)
{
	return (size_t)sysconf(_SC_PAGESIZE);
}

static void deadline_in(struct timespec *ts, long ms)
{
	clock_gettime(CLOCK_MONOTONIC, ts);
	ts->tv_nsec += ms * 1000000;
	ts->tv_sec += ts->tv_nsec / 1000000000;
	ts->tv_nsec %= 1000000000;
}

static void note_stale(struct device *d, const struct job *job, uint64_t after,
		       const unsigned char *bytes, enum column column)
{
	struct torture *t = d->t;
	const struct region *r = job->region;
	bool write = job->access.flags & URING_WRITE;
	char saw[2][64] = {"", ""};

	d->counts[column].stale_cell[r->id]++;
	if (write)
		d->counts[column].stale_writes++;
	else
		d->counts[column].stale_reads++;
	if (column != COL_HMMU)
		return;
	if (!write) {
		record_describe(bytes, saw[0], sizeof(saw[0]));
		record_describe(bytes + page_size() - LINE, saw[1], sizeof(saw[1]));
	}
	pthread_mutex_lock(&t->first_lock);
	if (!t->first[0])
		snprintf(t->first, sizeof(t->first),
			 "%s x %s, page %u: %s%s%s%s; legal were generations %llu to %llu%s",
			 op_names[r->op], memory_names[r->memory], job->page,
			 write ? "a device's write was lost" : "saw ", saw[0],
			 write ? "" : " and ", saw[1], (unsigned long long)job->before >> 1,
			 (unsigned long long)(after + 1) >> 1,
			 job->before == after && !(after & 1) ? "" : ", changing");
	pthread_mutex_unlock(&t->first_lock);
}

static void judge_read(struct device *d, const struct job *job, enum column column)
{
	const unsigned char *bytes = uring_mirror_buffer(d->mirror[column], job->access.index);
	uint64_t after = atomic_load(&job->region->pub[job->page]);

	d->counts[column].reads++;
	if (page_judge(d->t, job->region, job->page, job->before, after, bytes) == STALE)
		note_stale(d, job, after, bytes, column);
}

/* What a CPU would read there; false: nothing is mapped. */
static bool read_truth(unsigned long addr, uint64_t *value)
{
	struct iovec to = {value, sizeof(*value)};
	struct iovec from = {(void *)addr, sizeof(*value)};

	return process_vm_readv(getpid(), &to, 1, &from, 1, 0) == sizeof(*value);
}

static void judge_write(struct device *d, const struct job *job, enum column column)
{
	uint64_t truth = 0, after;
	bool there = read_truth(job->access.addr, &truth);

	after = atomic_load(&job->region->pub[job->page]);
	d->counts[column].writes++;
	if (job->before != after || (after & 1))
		d->counts[column].undecided++;
	else if (!there || truth != d->value)
		note_stale(d, job, after, NULL, column);
}

/* A refusal is right only while the address may be unmapped. */
static void judge_refusal(struct device *d, const struct job *job, int error,
			  enum column column)
{
	uint64_t after = atomic_load(&job->region->pub[job->page]);
	struct counts *c = &d->counts[column];

	if (error == -ENOMEM || error == -ETIMEDOUT)
		*(error == -ENOMEM ? &c->no_memory : &c->timeouts) += 1;
	else if (error == -ENODEV && d->t->net)
		return; /* a part of the region was away: it was not watched */
	else if (error != -EFAULT || (job->before == after && !(after & 1)))
		c->wrong++;
}

/* True: a mutator wants it. */
static bool choose_target(struct device *d, struct job *job, bool *fresh)
{
	struct torture *t = d->t;
	unsigned int page;
	struct region *r = meet_wanted(d, &page, fresh);
	uint32_t again;

	if (r) {
		job->region = r;
		job->page = page;
		return true;
	}
	*fresh = false;
	if (d->nr_again) {
		again = d->again[--d->nr_again];
		job->region = &t->regions[again >> 8];
		job->page = again & 0xff;
		return false;
	}
	job->region = &t->regions[torture_random(&d->rng) % t->nr_regions];
	job->page = (unsigned int)(torture_random(&d->rng) % PAGES);
	return false;
}

static void make_access(struct device *d, struct batch *b, enum column column)
{
	struct job *job = &b->jobs[b->n];
	struct uring_access *a = &job->access;

	*a = (struct uring_access){.window = d->window[job->region->id], .index = b->n};
	a->addr = (unsigned long)job->region->base + job->page * page_size();
	a->len = (unsigned int)page_size();
	if (b->wrote || torture_random(&d->rng) % WRITE_EVERY)
		return;
	b->wrote = true;
	a->flags = URING_WRITE;
	a->addr += WRITE_AT + 8 * d->id;
	a->len = sizeof(d->value);
	d->value++;
	memcpy(uring_mirror_buffer(d->mirror[column], a->index), &d->value, sizeof(d->value));
}

/* Looks up or pins the next access. False: the batch is full. */
static bool add(struct device *d, struct batch *b, enum column column)
{
	struct job *job = &b->jobs[b->n];
	struct timespec deadline;
	bool fresh, wanted = choose_target(d, job, &fresh);
	int ret;

	make_access(d, b, column);
	if (fresh)
		uring_mirror_drop(job->access.window, job->access.addr, 1);
	deadline_in(&deadline, WAIT_MS);
	job->before = atomic_load(&job->region->pub[job->page]);
	ret = uring_mirror_prep(d->mirror[column], &job->access, &deadline);
	if (wanted)
		meet_declined(d);
	if (ret == -EAGAIN)
		return false;
	b->queued[b->n++] = !ret;
	if (ret)
		judge_refusal(d, job, ret, column);
	return b->n < BATCH;
}

static void judge(struct device *d, struct batch *b, struct job *job, enum column column)
{
	int result = job->access.result;

	if (result == -ESTALE) {
		/* Discarded by the mirror. A read is done again; a write is not. */
		if (!(job->access.flags & URING_WRITE) && d->nr_again < BATCH) {
			d->again[d->nr_again++] = job->region->id << 8 | job->page;
			d->counts[column].repeated++;
		}
	} else if (result < 0) {
		d->counts[column].wrong++;
	} else if (job->access.flags & URING_WRITE) {
		judge_write(d, job, column);
	} else {
		judge_read(d, job, column);
	}
}

static void run_batch(struct device *d, struct batch *b, enum column column)
{
	struct uring_mirror *m = d->mirror[column];
	struct uring_access *done;
	unsigned int left = 0;
	int ret;

	b->n = 0;
	b->wrote = false;
	while (add(d, b, column))
		;
	/* The accesses begin now: what was legal before is no concern of theirs. */
	for (unsigned int i = 0; i < b->n; i++) {
		if (!b->queued[i])
			continue;
		b->jobs[i].before = atomic_load(&b->jobs[i].region->pub[b->jobs[i].page]);
		left++;
	}
	ret = uring_mirror_submit(m);
	while (left && ret >= 0) {
		ret = uring_mirror_reap(m, &done, NULL);
		for (; ret > 0 && done; done = done->next, left--)
			judge(d, b, (struct job *)((char *)done - offsetof(struct job, access)),
			      column);
	}
	if (ret < 0)
		torture_fatal(d->t, "the io_uring mirror", -ret);
}

static void watch_all(struct device *d, enum column column)
{
	struct torture *t = d->t;

	for (unsigned int i = 0; i < t->nr_regions; i++) {
		int ret =
			uring_mirror_watch(d->mirror[column], (unsigned long)t->regions[i].base,
					   PAGES * page_size(), &d->window[i]);

		if (ret) {
			torture_fatal(t, "watching a region", -ret);
			d->window[i] = NULL;
		}
	}
}

static void unwatch_all(struct device *d)
{
	for (unsigned int i = 0; i < d->t->nr_regions; i++)
		if (d->window[i])
			uring_mirror_unwatch(d->window[i]);
}

void *device_main(void *arg)
{
	struct device *d = arg;
	struct torture *t = d->t;
	struct batch batch;

	for (;;) {
		pthread_barrier_wait(&t->barrier); /* the column is set */
		if (t->quit)
			return NULL;
		watch_all(d, t->column);
		pthread_barrier_wait(&t->barrier); /* all watch */
		while (!atomic_load(&t->stop)) {
			run_batch(d, &batch, t->column);
			if (t->crowded)
				sched_yield(); /* or the mutators starve */
		}
		d->nr_again = 0;
		/* Mutators may still be in a change: removal under fire. */
		unwatch_all(d);
		pthread_barrier_wait(&t->barrier); /* all quiet */
	}
}

int device_open(struct device *d)
{
	struct uring_mirror_options options = {
		.size = sizeof(options),
		/* Twice what can be live: tags come late before Linux 6.13. */
		.slots = 2 * MAX_REGIONS * PAGES,
		.depth = BATCH,
	};

	for (enum column c = 0; c < NR_COLUMNS; c++) {
		int ret =
			uring_mirror_open_with(&d->mirror[c], d->t->mm, &options, policies[c]);

		if (ret)
			return ret;
		d->mirror[c]->user = d;
	}
	return 0;
}

void device_close(struct device *d)
{
	for (enum column c = 0; c < NR_COLUMNS; c++) {
		if (d->mirror[c])
			uring_mirror_stats(d->mirror[c], &d->counts[c].mirror);
		uring_mirror_close(d->mirror[c]);
	}
}
