// SPDX-License-Identifier: MIT
/*
 * test_storm.c - memory that changes all the time, and readers of its page tables: an answer
 * that read_retry() lets pass is the truth (G1). The changer waits, now and then, until each
 * reader has got one: no clock.
 */
#include "world.h"

#define PAGES 48
#define READERS 2
#define CHANGES (3000 / API_SLOW)
#define EACH 4 /* changes between two answers */

static unsigned char *at;
static unsigned long truth[PAGES]; /* written between start and end */
static atomic_uint answers[READERS];
static atomic_bool over;

static struct shadow {
	struct mmu_interval_notifier sub;
	pthread_mutex_t lock;
} shadow;

static bool drop(struct mmu_interval_notifier *sub, const struct mmu_notifier_range *range,
		 unsigned long seq)
{
	struct shadow *s = (struct shadow *)sub;

	pthread_mutex_lock(&s->lock);
	mmu_interval_set_seq(sub, seq);
	pthread_mutex_unlock(&s->lock);
	return true;
}

static const struct mmu_interval_notifier_ops storm_ops = {.invalidate = drop};

static unsigned long make(unsigned char *p, unsigned long size, unsigned int how)
{
	must(mmap(p, size, RW, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == p);
	must(!madvise(p, size, MADV_NOHUGEPAGE) || errno == EINVAL);
	if (how == 0) {
		must(munmap(p, size) == 0);
		return HMM_PFN_ERROR;
	}
	if (how == 1)
		return 0;
	touch(p, size / PAGE);
	if (how == 2)
		return RDWR;
	must(mprotect(p, size, how == 3 ? PROT_READ : PROT_NONE) == 0);
	return how == 3 ? VALID : HMM_PFN_ERROR;
}

static void change(uint64_t *r)
{
	unsigned int first = (unsigned int)(api_random(r) % PAGES);
	unsigned int n = 1 + (unsigned int)(api_random(r) % (PAGES - first));
	struct mmu_notifier_range range;
	unsigned long now;

	range_open(&range, mm, (unsigned long)(at + first * PAGE),
		   (unsigned long)(at + (first + n) * PAGE));
	now = make(at + first * PAGE, n * PAGE, (unsigned int)(api_random(r) % 5));
	sched_yield();
	for (unsigned int i = first; i < first + n; i++)
		truth[i] = now;
	range_close(&range);
}

/* @fault: what was there the last time is wanted, by page. */
static void read_once(unsigned long *pfns, bool fault)
{
	struct hmm_range range = {
		.notifier = &shadow.sub,
		.start = (unsigned long)at,
		.end = (unsigned long)at + PAGES * PAGE,
		.hmm_pfns = pfns,
		.pfn_flags_mask = fault ? HMM_PFN_FLAGS : 0,
	};
	int ret;

	for (;;) {
		range.notifier_seq = mmu_interval_read_begin(&shadow.sub);
		ret = hmm_range_fault(&range);
		must(ret == 0 || ret == -EBUSY || (fault && (ret == -EFAULT || ret == -EPERM)));
		sched_yield(); /* many changes come here */
		pthread_mutex_lock(&shadow.lock);
		if (!mmu_interval_read_retry(&shadow.sub, range.notifier_seq))
			break;
		pthread_mutex_unlock(&shadow.lock);
	}
	for (int i = 0; !ret && i < PAGES; i++) {
		unsigned long flags = FLAGS_OF(pfns[i]);

		/* What is empty, a reader's fault may have filled: that is no change. */
		must(flags == truth[i] ||
		     (!truth[i] && (flags == RDWR || flags == (VALID | HMM_PFN_ZERO))));
	}
	pthread_mutex_unlock(&shadow.lock);
	/* As they are, so that they are wanted so. */
	for (int i = 0; i < PAGES; i++)
		pfns[i] = !ret && (pfns[i] & VALID) ? pfns[i] & WRITE : 0;
}

static void *reader(void *arg)
{
	atomic_uint *count = arg;
	unsigned long pfns[PAGES] = {0};

	while (!atomic_load(&over)) {
		read_once(pfns, count != answers && atomic_load(count) % 2);
		atomic_fetch_add(count, 1);
	}
	return NULL;
}

static void answers_are_true(void **state)
{
	pthread_t thread[READERS];
	uint64_t r = 1;

	at = map(PAGES, RW, MAP_PRIVATE | MAP_ANONYMOUS, -1);
	for (int i = 0; i < PAGES; i++)
		truth[i] = 0;
	pthread_mutex_init(&shadow.lock, NULL);
	must(mmu_interval_notifier_insert(&shadow.sub, mm, (unsigned long)at, PAGES * PAGE,
					  &storm_ops) == 0);
	for (int i = 0; i < READERS; i++)
		must(pthread_create(&thread[i], NULL, reader, &answers[i]) == 0);
	for (int i = 0; i < CHANGES; i++) {
		change(&r);
		for (int k = 0; i % EACH == 0 && k < READERS; k++)
			for (unsigned int was = atomic_load(&answers[k]);
			     atomic_load(&answers[k]) == was;)
				sched_yield();
	}
	atomic_store(&over, true);
	for (int i = 0; i < READERS; i++)
		must(pthread_join(thread[i], NULL) == 0);
	mmu_interval_notifier_remove(&shadow.sub);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(answers_are_true)};

	return cmocka_run_group_tests(tests, world_setup, world_teardown);
}
