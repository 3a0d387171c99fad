// SPDX-License-Identifier: MIT
/* device.c - registrations that know the identity of each page that they reach. */
#include "device.h"

#include <sys/uio.h>

#define VECTOR 256

/* By the kernel: an address that nothing is mapped at, or without PROT_READ, is an answer. */
int identities(unsigned long start, unsigned long end, uint64_t *ids)
{
	struct iovec local, remote[VECTOR];
	int saved = errno;

	while (start < end) {
		ssize_t got, want;
		int n = 0;

		for (; n < VECTOR && start < end; n++, start += PAGE)
			remote[n] = (struct iovec){(void *)start, sizeof(*ids)};
		want = (ssize_t)(n * sizeof(*ids));
		local = (struct iovec){ids, (size_t)want};
		got = process_vm_readv(getpid(), &local, 1, remote, (unsigned long)n, 0);
		errno = saved;
		if (got != want)
			return -EFAULT;
		ids += n;
	}
	return 0;
}

bool record_current_at(const struct record *record, unsigned long start, unsigned long end)
{
	size_t n = (end - start) / PAGE, at = (start - record->start) / PAGE;
	uint64_t *ids = malloc(n * sizeof(*ids));
	bool same;

	must(ids && record->start <= start && end <= record->end);
	same = identities(start, end, ids) == 0 &&
	       memcmp(ids, record->ids + at, n * sizeof(*ids)) == 0;
	free(ids);
	return same;
}

bool record_current(const struct record *record)
{
	return record_current_at(record, record->start, record->end);
}

static int planned_failure(struct device *dev)
{
	int err = 0;

	pthread_mutex_lock(&dev->lock);
	dev->calls++;
	if (dev->fail_at && --dev->fail_at == 0) {
		err = dev->fail_errno;
		if (dev->fail_times > 1) {
			dev->fail_times--;
			dev->fail_at = 1;
		}
	}
	pthread_mutex_unlock(&dev->lock);
	return err;
}

/* What ibv_reg_mr() would say; the memory stays as it is. */
static int check_memory(const struct hmmu_region *region)
{
	int saved = errno, ret;

	ret = madvise((void *)region->start, region->end - region->start,
		      region->prot & PROT_WRITE ? MADV_POPULATE_WRITE : MADV_POPULATE_READ);
	errno = saved;
	return ret ? -EFAULT : 0;
}

static int fill(struct device *dev, const struct hmmu_region *region, struct record *record)
{
	int err;

	if (dev->before) {
		err = dev->before(dev, (struct hmmu_region *)region);
		if (err)
			return err;
	}
	if (dev->checks) {
		err = check_memory(region);
		if (err)
			return err;
	}
	if (!dev->blind) {
		record->ids =
			calloc((region->end - region->start) / PAGE, sizeof(*record->ids));
		if (!record->ids)
			return -EFAULT; /* more than there is */
		err = identities(region->start, region->end, record->ids);
		if (err)
			return err;
	}
	return dev->after ? dev->after(dev, (struct hmmu_region *)region) : 0;
}

static void count_reg(struct device *dev, struct record *record, int err)
{
	pthread_mutex_lock(&dev->lock);
	if (err) {
		dev->fails++;
	} else {
		record->live = true;
		record->next = dev->records;
		dev->records = record;
		dev->regs++;
		dev->live++;
		dev->live_bytes += record->end - record->start;
	}
	pthread_cond_broadcast(&dev->changed);
	pthread_mutex_unlock(&dev->lock);
}

static int device_reg(void *context, struct hmmu_region *region)
{
	struct device *dev = context;
	struct record *record = calloc(1, sizeof(*record));
	int err;

	atomic_fetch_add(&dev->inside, 1);
	must(region->start < region->end && !((region->start | region->end) % PAGE));
	must(region->prot && !(region->prot & ~(unsigned int)RW));
	must(record != NULL);
	record->dev = dev;
	record->start = region->start;
	record->end = region->end;
	record->prot = region->prot;
	err = planned_failure(dev);
	if (!err)
		err = fill(dev, region, record);
	count_reg(dev, record, err);
	if (err) {
		free(record->ids);
		free(record);
	} else {
		region->handle = record;
		region->key[0] = record->start;
		region->key[3] = ~record->end;
	}
	atomic_fetch_sub(&dev->inside, 1);
	return err;
}

static int device_dereg(void *context, struct hmmu_region *region)
{
	struct device *dev = context;
	struct record *record = region->handle;
	int err;

	atomic_fetch_add(&dev->inside, 1);
	must(record && record->dev == dev);
	must(atomic_load(&record->used) == 0);
	must(record->start == region->start && record->end == region->end);
	must(record->prot == region->prot && region->key[0] == record->start);
	must(region->key[3] == ~record->end);
	if (dev->on_dereg)
		dev->on_dereg(dev, record);
	must(atomic_load(&record->used) == 0);
	pthread_mutex_lock(&dev->lock);
	must(record->live);
	record->live = false;
	free(record->ids);
	record->ids = NULL;
	err = dev->dereg_errno;
	if (err)
		dev->dereg_fails++;
	else
		dev->deregs++;
	dev->live--;
	dev->live_bytes -= record->end - record->start;
	pthread_cond_broadcast(&dev->changed);
	pthread_mutex_unlock(&dev->lock);
	atomic_fetch_sub(&dev->inside, 1);
	return err;
}

static int device_describe(void *context, const struct hmmu_region *region, char *text,
			   size_t size)
{
	const struct record *record = region->handle;

	must(record->dev == context);
	return snprintf(text, size, "%lu pages", (record->end - record->start) / PAGE);
}

static size_t device_shrink(void *context, size_t bytes)
{
	struct device *dev = context;

	pthread_mutex_lock(&dev->lock);
	dev->shrinks++;
	pthread_mutex_unlock(&dev->lock);
	return dev->shrink ? dev->shrink(dev, bytes) : 0;
}

const struct hmmu_regcache_ops device_ops = {
	.reg = device_reg,
	.dereg = device_dereg,
	.describe = device_describe,
	.shrink = device_shrink,
};

void device_init(struct device *dev)
{
	memset(dev, 0, sizeof(*dev));
	pthread_mutex_init(&dev->lock, NULL);
	pthread_cond_init(&dev->changed, NULL);
}

void device_fini(struct device *dev)
{
	struct record *record, *next;

	must(dev->live == 0 && dev->live_bytes == 0);
	must(atomic_load(&dev->inside) == 0);
	for (record = dev->records; record; record = next) {
		next = record->next;
		free(record->ids);
		free(record);
	}
	pthread_mutex_destroy(&dev->lock);
	pthread_cond_destroy(&dev->changed);
}

void device_wait_live(struct device *dev, long live)
{
	pthread_mutex_lock(&dev->lock);
	while (dev->live != live)
		pthread_cond_wait(&dev->changed, &dev->lock);
	pthread_mutex_unlock(&dev->lock);
}

long device_live(struct device *dev)
{
	long live;

	pthread_mutex_lock(&dev->lock);
	live = dev->live;
	pthread_mutex_unlock(&dev->lock);
	return live;
}

long device_calls(struct device *dev)
{
	long calls;

	pthread_mutex_lock(&dev->lock);
	calls = dev->calls;
	pthread_mutex_unlock(&dev->lock);
	return calls;
}
