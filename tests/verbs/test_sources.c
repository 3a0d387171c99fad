// SPDX-License-Identifier: MIT
/* test_sources.c - who tells: the mm of its own, those that are refused; threads; fork. */
#include "bed.h"

#include <sys/wait.h>

static struct mm_struct *mm_of(unsigned int sources)
{
	const struct hmmu_mm_options options = {.size = sizeof(options), .sources = sources};
	struct mm_struct *mm;
	int ret = quiet(hmmu_mm_open(&mm, &options));

	must(ret == 0 || ret == -EOPNOTSUPP);
	return ret ? NULL : mm;
}

static void wait_live(long live)
{
	while (card_live() != live)
		usleep(200); /* else the guard ends it */
}

/* Nobody says anything: libc's munmap and mmap do, and its reclaimer deregisters. */
static void an_mm_of_its_own(void **state)
{
	struct hmmu_region_ref ref;
	struct bed b = {0};

	bed_area(&b);
	for (int i = 0; i < 20; i++) { /* more than there may be with hooks */
		struct hmmu_verbs_options bad = HMMU_VERBS_DEFAULTS;

		bad.alignment = 100;
		assert_int_equal(quiet(hmmu_verbs_open(&b.v, &card_pd, &bad)), -EINVAL);
		assert_int_equal(quiet(hmmu_verbs_open(&b.v, &card_pd, NULL)), 0);
		get_put(&b, 0, 4, RW);
		assert_int_equal(munmap(at(&b, 1), PAGE), 0);
		wait_live(0);
		assert_int_equal(try_get(&b, 0, 4, RW, &ref), -EFAULT);
		fresh(at(&b, 1), 1);
		get(&b, 0, 4, RW, &ref);
		fresh(at(&b, 1), 1);
		assert_false(quiet(hmmu_verbs_valid(b.v, &ref)));
		put(&b, &ref);
		get_put(&b, 0, 4, RW);
		assert_int_equal(quiet(hmmu_verbs_close(b.v)), 0);
		assert_int_equal(card_live(), 0);
	}
	bed_area_gone(&b);
	card_reset();
}

static void must_bracket(void **state)
{
	static const struct {
		unsigned int sources;
		int answer;
	} cases[] = {
		{HMMU_SOURCE_EXPLICIT, 0},
		{HMMU_SOURCE_HOOKS, 0},
		{HMMU_SOURCE_BEST, 0},
		{HMMU_SOURCE_HOOKS | HMMU_SOURCE_USERFAULTFD, 0},
		{HMMU_SOURCE_USERFAULTFD, -EOPNOTSUPP},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct hmmu_verbs_options o = HMMU_VERBS_DEFAULTS;
		struct hmmu_verbs *v;

		o.mm = mm_of(cases[i].sources);
		if (!o.mm) {
			fprintf(stderr, "sources %#x do not work here\n", cases[i].sources);
			continue;
		}
		assert_int_equal(quiet(hmmu_verbs_open(&v, &card_pd, &o)), cases[i].answer);
		if (!cases[i].answer)
			assert_int_equal(quiet(hmmu_verbs_close(v)), 0);
		o.flags = HMMU_VERBS_ANY_SOURCE;
		assert_int_equal(quiet(hmmu_verbs_open(&v, &card_pd, &o)), 0);
		assert_int_equal(quiet(hmmu_verbs_close(v)), 0);
		close_mm(o.mm); /* nothing of it is left */
	}
}

/* ---- threads ---------------------------------------------------------- */

#define REMAPS (4000 / API_SLOW)

static atomic_bool over;
static atomic_uint_fast64_t published; /* words below it are no more */
static atomic_long looked, discarded, registered;

static void remapper(void *arg)
{
	struct bed *b = arg;

	/* However slow the others are: some of it meets a registration. */
	for (int i = 0; i < REMAPS || atomic_load(&registered) < 50; i++) {
		fresh(at(b, 0), 1);
		atomic_store(&published, word_at(at(b, 0)));
	}
	atomic_store(&over, true);
}

/* At completion: good means not older than what was published before the get. */
static void sender(void *arg)
{
	struct bed *b = arg;
	struct hmmu_region_ref ref;

	while (!atomic_load(&over)) {
		uint64_t least = atomic_load(&published), sent;

		must(try_get(b, 0, 1, RW, &ref) == 0);
		sent = card_reads(&ref, at(b, 0));
		if (hmmu_verbs_valid(b->v, &ref))
			must(sent >= least);
		else
			atomic_fetch_add(&discarded, 1);
		must(sent >= least); /* the get itself, too */
		atomic_store(&registered, (long)bed_stats(b).registered);
		put(b, &ref);
		atomic_fetch_add(&looked, 1);
	}
}

static void remapped_by_another_thread(void **state)
{
	struct runner r[3];
	struct bed b = {0};

	bed_area(&b);
	assert_int_equal(quiet(hmmu_verbs_open(&b.v, &card_pd, NULL)), 0);
	runner_start(&r[0], sender, &b);
	runner_start(&r[1], sender, &b);
	runner_start(&r[2], remapper, &b);
	for (int i = 0; i < 3; i++)
		runner_join(&r[i]);
	printf("%ld sent, %ld of them discarded, %ld registrations\n", atomic_load(&looked),
	       atomic_load(&discarded), card.regs);
	assert_true(card.regs >= 50);
	assert_int_equal(quiet(hmmu_verbs_close(b.v)), 0);
	assert_int_equal(card.regs, card.deregs);
	bed_area_gone(&b);
	card_reset();
}

/* ---- fork ------------------------------------------------------------- */

static int status_of(pid_t pid)
{
	int status;

	must(pid > 0 && waitpid(pid, &status, 0) == pid);
	return status;
}

/* The parent's references are left alone, its regions are nobody's to deregister. */
static void in_child(struct bed *b, struct hmmu_region_ref *ref)
{
	struct hmmu_verbs_options o = HMMU_VERBS_DEFAULTS;
	struct hmmu_region_ref mine;
	struct hmmu_verbs *v;
	long calls = card.calls, deregs = card.deregs, refusals = card.refusals;

	o.mm = b->mm;
	must(quiet(hmmu_verbs_valid(b->v, ref)) == false);
	must(quiet(hmmu_verbs_get(b->v, at(b, 0), 1, RW, &mine)) == -ENODEV);
	must(quiet(hmmu_verbs_get(b->v, at(b, 9), 1, RW, &mine)) == -ENODEV);
	must(quiet(hmmu_verbs_get_nonblock(b->v, at(b, 0), 1, RW, &mine)) == -EAGAIN);
	must(quiet(hmmu_verbs_flush(b->v)) == -ENODEV);
	must(bed_stats(b).registered == 0);
	must(b->mm == NULL || quiet(hmmu_verbs_open(&v, &card_pd, &o)) == -ENODEV);
	o.flags = HMMU_VERBS_ANY_SOURCE;
	must(b->mm == NULL || quiet(hmmu_verbs_open(&v, &card_pd, &o)) == -ENODEV);
	must(quiet(hmmu_verbs_close(b->v)) == 0);
	must(card.calls == calls && card.deregs == deregs && card.refusals == refusals);
	_exit(0);
}

static void fork_it(struct bed *b)
{
	struct hmmu_region_ref ref;
	pid_t pid;

	get(b, 0, 4, RW, &ref);
	pid = fork();
	if (!pid)
		in_child(b, &ref);
	assert_int_equal(status_of(pid), 0);
	put(b, &ref);
	get_put(b, 0, 4, RW);
	card.refuse = 0;
	assert_int_equal(quiet(hmmu_verbs_close(b->v)), 0);
	assert_int_equal(card.regs, card.deregs);
	bed_area_gone(b);
	card_reset();
}

static void forked(void **state)
{
	struct bed b = {0};

	bed_area(&b);
	assert_int_equal(quiet(hmmu_verbs_open(&b.v, &card_pd, NULL)), 0);
	fork_it(&b);
}

/* With something refused, and an mm of the application's. */
static void forked_with_more(void **state)
{
	struct hmmu_verbs_options o = HMMU_VERBS_DEFAULTS;
	struct hmmu_region_ref ref;
	struct bed b = {0};

	bed_area(&b);
	o.mm = b.mm = mm_of(HMMU_SOURCE_HOOKS);
	assert_int_equal(quiet(hmmu_verbs_open(&b.v, &card_pd, &o)), 0);
	get(&b, 20, 1, RW, &ref);
	card.refuse = EBUSY;
	card.refuse_only = hmmu_verbs_lkey(&ref);
	put(&b, &ref);
	assert_int_equal(hmmu_regcache_drop(hmmu_verbs_cache(b.v), at(&b, 20), 1), 1);
	while (!bed_stats(&b).refused)
		usleep(200); /* the reclaimer */
	fork_it(&b);
	close_mm(b.mm);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_mm_of_its_own),	      cmocka_unit_test(must_bracket),
		cmocka_unit_test(remapped_by_another_thread), cmocka_unit_test(forked),
		cmocka_unit_test(forked_with_more),
	};
	struct mm_struct *mm = mm_of(HMMU_SOURCE_HOOKS);

	if (!mm) {
		printf("skipped: hooks do not work here: %s\n",
		       hmmu_source_why(HMMU_SOURCE_HOOKS));
		return 77;
	}
	close_mm(mm);
	api_guard(120);
	return cmocka_run_group_tests_name("verbs-sources", tests, NULL, NULL);
}
