// SPDX-License-Identifier: MIT
/*
 * test_library.c - the source under the real notifier: readers, a device, and threads that
 * change memory by bare system calls.
 *
 * A page's content is its translation: every page is a page of one file that holds its own
 * number, and a change maps another one over it, or takes it away. After its change the
 * changer, under the driver lock, looks at what the shadow has: it must be empty,
 * refused, or right.
 */
#include "sec.h"

#include <hmmu/mmu_notifier.h>
#include <pthread.h>
#include <string.h>

#ifdef SEC_BY_HAND
#include "instance.h"
#endif

#define CHANGERS 8
#define OWN 4 /* pages of each */
#define FILE_PAGES 64
#define CHANGES 500
#define READERS 2

struct region {
	struct mmu_interval_notifier sub;
	pthread_mutex_t lock; /* the driver lock */
	char *base;
	int shadow[OWN]; /* -1 nothing, else the number read */
	unsigned long seq[OWN];
	uint64_t stale, right, invalidated;
};

static struct region regions[CHANGERS];
static uint32_t over;
static int file;

/* Opens the mm with this source. */
static struct mm_struct *open_mm(void)
{
	struct mm_struct *mm = NULL;
	struct hmmu_mm_options o = {.size = sizeof(o), .sources = HMMU_SOURCE_SECCOMP};

#ifdef SEC_BY_HAND
	o.sources = HMMU_SOURCE_EXPLICIT;
	CHECK(!hmmu_mm_open(&mm, &o));
	CHECK(!hmmu_source_anchor() && !hmmu_source_attach(mm));
	sec_open();
#else
	CHECK(!hmmu_mm_open(&mm, &o));
#endif
	return mm;
}

static bool invalidate(struct mmu_interval_notifier *sub,
		       const struct mmu_notifier_range *range, unsigned long seq)
{
	struct region *r = (struct region *)sub;

	pthread_mutex_lock(&r->lock);
	mmu_interval_set_seq(sub, seq);
	for (unsigned long i = 0; i < OWN; i++) {
		unsigned long at = (unsigned long)r->base + i * PAGE;

		if (range->start <= at && at < range->end)
			r->shadow[i] = -1;
	}
	r->invalidated++;
	pthread_mutex_unlock(&r->lock);
	return true;
}

static const struct mmu_interval_notifier_ops ops = {.invalidate = invalidate};

static void read_page(struct region *r, int i)
{
	unsigned long seq;
	int value;

	if (hmmu_read_begin(&r->sub, &seq, &(struct timespec){0, 0}))
		return;
	value = sec_peek(r->base + (unsigned long)i * PAGE);
	pthread_mutex_lock(&r->lock);
	if (!mmu_interval_read_retry(&r->sub, seq)) {
		r->shadow[i] = value;
		r->seq[i] = seq;
	}
	pthread_mutex_unlock(&r->lock);
}

static void *reader(void *arg)
{
	unsigned int at = (unsigned int)(uintptr_t)arg;

	while (!hmmu_load_acquire(&over)) {
		at = at * 1103515245u + 12345u;
		read_page(&regions[(at >> 16) % CHANGERS], (int)((at >> 8) % OWN));
	}
	return NULL;
}

/* @now: the number that is there, -1 nothing. */
static void judge(struct region *r, int i, int now)
{
	pthread_mutex_lock(&r->lock);
	if (r->shadow[i] != -1 && hmmu_access_ok(&r->sub, r->seq[i])) {
		if (r->shadow[i] == now)
			r->right++;
		else
			r->stale++;
	}
	pthread_mutex_unlock(&r->lock);
}

static void *changer(void *arg)
{
	struct region *r = arg;
	unsigned int at = (unsigned int)(r - regions) + 1;

	for (int n = 0; n < CHANGES; n++) {
		unsigned int i, number;
		char *p;

		at = at * 1103515245u + 12345u;
		i = (at >> 16) % OWN;
		number = (at >> 8) % FILE_PAGES;
		p = r->base + i * PAGE;
		read_page(r, (int)i); /* so that there is something to get wrong */
		if (at >> 31) {
			CHECK(raw(SYS_mmap, p, PAGE, PROT_READ, MAP_SHARED | MAP_FIXED, file,
				  number * PAGE) == (long)p);
			judge(r, (int)i, (int)number);
		} else {
			CHECK(raw(SYS_mmap, p, PAGE, PROT_NONE,
				  MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == (long)p);
			judge(r, (int)i, -1);
		}
	}
	return NULL;
}

static void set_up(struct mm_struct *mm)
{
	char page[PAGE];

	file = memfd_create("file", 0);
	for (int i = 0; i < FILE_PAGES; i++) {
		memset(page, i, sizeof(page));
		CHECK(write(file, page, sizeof(page)) == (ssize_t)sizeof(page));
	}
	for (int i = 0; i < CHANGERS; i++) {
		struct region *r = &regions[i];

		pthread_mutex_init(&r->lock, NULL);
		r->base = mmap(NULL, OWN * PAGE, PROT_READ, MAP_SHARED, file, 0);
		memset(r->shadow, 0xff, sizeof(r->shadow));
		CHECK(!mmu_interval_notifier_insert(&r->sub, mm, (unsigned long)r->base,
						    OWN * PAGE, &ops));
	}
}

static void churn(void)
{
	struct mm_struct *mm = open_mm();
	pthread_t t[CHANGERS + READERS];
	uint64_t stale = 0, right = 0, invalidated = 0;

	set_up(mm);
	for (int i = 0; i < CHANGERS + READERS; i++)
		CHECK(!pthread_create(&t[i], NULL, i < CHANGERS ? changer : reader,
				      i < CHANGERS ? (void *)&regions[i]
						   : (void *)(uintptr_t)i));
	for (int i = 0; i < CHANGERS; i++)
		CHECK(!pthread_join(t[i], NULL));
	hmmu_store_release(&over, 1);
	for (int i = CHANGERS; i < CHANGERS + READERS; i++)
		CHECK(!pthread_join(t[i], NULL));
	for (int i = 0; i < CHANGERS; i++) {
		stale += regions[i].stale;
		right += regions[i].right;
		invalidated += regions[i].invalidated;
		mmu_interval_notifier_remove(&regions[i].sub);
	}
	printf("%d changes, %ju invalidations, %ju right, %ju stale\n", CHANGERS * CHANGES,
	       (uintmax_t)invalidated, (uintmax_t)right, (uintmax_t)stale);
	CHECK(stale == 0);
	CHECK(invalidated >= CHANGERS * CHANGES);
}

/* fork through libc is told, for the whole memory. */
static void forked(void)
{
	struct mm_struct *mm = open_mm();
	uint64_t before;
	pid_t pid;

	set_up(mm);
	before = regions[0].invalidated;
	pid = fork();
	if (!pid) {
		unsigned long seq;

		CHECK(hmmu_read_begin(&regions[0].sub, &seq, NULL) == -ENODEV);
		CHECK(raw(SYS_munmap, regions[0].base, PAGE) == 0);
		_exit(0);
	}
	sec_join(pid);
	CHECK(regions[0].invalidated == before + 1);
}

/* The guard under the real notifier: undecided, then told, then decided. */
static void deadlock(void)
{
	struct mm_struct *mm;
	struct region *r = &regions[0];
	unsigned long seq;

	hmmu_seccomp_patience_ms = 200;
	mm = open_mm();
	set_up(mm);
	read_page(r, 0);
	CHECK(r->shadow[0] == 0);
	pthread_mutex_lock(&r->lock);
	CHECK(raw(SYS_munmap, r->base, PAGE) == 0);
	/* The callback waits for the lock still; what it would drop is refused. */
	CHECK(!hmmu_access_ok(&r->sub, r->seq[0]));
	pthread_mutex_unlock(&r->lock);
	CHECK(!hmmu_read_begin(&r->sub, &seq, NULL));
	CHECK(r->shadow[0] == -1);
}

int main(int argc, char **argv)
{
	static const struct sec_case cases[] = {
		{"churn", churn},
		{"fork", forked},
		{"deadlock", deadlock},
	};

	return sec_main(argc, argv, cases, sizeof(cases) / sizeof(cases[0]));
}
