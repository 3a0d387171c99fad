// SPDX-License-Identifier: MIT
/*
 * meet.c - who waits for whom: a reader for an end, remove for a callback; callbacks that
 * nest; deferred works; whole-mm notifiers; a forked child with an mm of its own.
 */
#include <errno.h>
#include <sched.h>
#include <semaphore.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "inject.h"
#include "life.h"
#include "wraps.h"
#include "arch/syscall.h"
#include "atomic.h"
#include "notifier/notifier.h"

static void init(struct mmu_notifier_range *range, struct region *r)
{
	mmu_notifier_range_init(range, MMU_NOTIFY_CLEAR, 0, r->mm, (unsigned long)r->at,
				(unsigned long)r->at + REGION);
}

static void start(struct mmu_notifier_range *range)
{
	int ret = quiet(mmu_notifier_invalidate_range_start(range));

	if (ret)
		broken("undocumented: start answered %d", ret);
}

static void end(struct mmu_notifier_range *range)
{
	quiet_void(mmu_notifier_invalidate_range_end(range));
}

/* ---- a reader waits for an end ------------------------------------------ */

struct waiter {
	struct region *r;
	atomic_bool over;
	bool got;
};

static void *read_it(void *arg)
{
	struct waiter *w = arg;

	w->got = region_load(w->r);
	atomic_store(&w->over, true);
	return NULL;
}

static void reader_waits(struct region *r)
{
	struct mmu_notifier_range range;
	struct waiter w = {.r = r};
	struct hmmu_sub *sub = (struct hmmu_sub *)&r->sub;
	pthread_t thread;

	if (!r->inserted)
		return;
	init(&range, r);
	start(&range);
	if (__real_pthread_create(&thread, NULL, read_it, &w))
		broken("the test has no thread");
	while (!atomic_load(&w.over) && !hmmu_load_seqcst(&sub->waiters))
		sched_yield();
	region_store(r);
	end(&range);
	__real_pthread_join(thread, NULL);
	region_check(r, "the end it waited for");
}

/* ---- remove waits for a callback ---------------------------------------- */

static sem_t inside, go;
static __thread bool starts_it;

/* Not a callback that tells of a loss. */
static void stand(struct region *r)
{
	if (!starts_it)
		return;
	sem_post(&inside);
	while (sem_wait(&go))
		;
}

static void *start_it(void *arg)
{
	struct region *r = arg;
	struct mmu_notifier_range range;

	starts_it = true;
	init(&range, r);
	start(&range);
	end(&range);
	return NULL;
}

static void *remove_it(void *arg)
{
	region_remove(arg);
	return NULL;
}

static void remove_waits(struct region *r)
{
	pthread_t starter, remover;
	struct mm_struct *mm = r->mm;

	if (!r->inserted)
		return;
	sem_init(&inside, 0, 0);
	sem_init(&go, 0, 0);
	r->inside = stand;
	if (__real_pthread_create(&starter, NULL, start_it, r))
		broken("the test has no thread");
	while (sem_wait(&inside))
		;
	if (__real_pthread_create(&remover, NULL, remove_it, r))
		broken("the test has no thread");
	while (!hmmu_load_seqcst(&mm->event_waiters))
		sched_yield();
	sem_post(&go);
	__real_pthread_join(remover, NULL);
	__real_pthread_join(starter, NULL);
	r->inside = NULL;
	region_insert(r, mm);
}

/* ---- a callback that changes and inserts --------------------------------- */

static struct region *other;

static void nest(struct region *r)
{
	struct mmu_notifier_range range;

	r->inside = NULL;
	init(&range, other);
	start(&range);
	if (!other->inserted)
		region_insert(other, r->mm);
	end(&range);
}

static void nested(struct region *r, struct region *to)
{
	struct mmu_notifier_range range;

	if (!r->inserted)
		return;
	region_remove(to);
	other = to;
	r->inside = nest;
	init(&range, r);
	start(&range);
	end(&range);
	r->inside = NULL;
	if (!to->inserted)
		region_insert(to, r->mm);
}

/* ---- works ---------------------------------------------------------------- */

static atomic_int worked;

static void work(struct hmmu_work *w)
{
	atomic_fetch_add(&worked, 1);
}

static void defer_some(struct life *life)
{
	struct hmmu_work works[3];
	int done, before = atomic_load(&worked);

	for (int i = 0; i < 3; i++)
		quiet_void(hmmu_defer(life->mm, &works[i], work));
	done = quiet(hmmu_reclaim(life->mm));
	if (done < 0)
		broken("undocumented: reclaim answered %d", done);
	for (int i = 0; atomic_load(&worked) - before < 3; i++) {
		if (i == 20000)
			broken("hang: a deferred work is never run");
		usleep(100);
	}
}

void meetings(struct life *life)
{
	stage("a reader waits for an end");
	reader_waits(&life->region[2]);
	stage("remove waits for a callback");
	remove_waits(&life->region[3]);
	stage("a nested callback");
	nested(&life->region[4], &life->region[5]);
	stage("deferred works");
	defer_some(life);
}

/* ---- whole-mm notifiers ---------------------------------------------------- */

static atomic_int starts, ends, frees;

static int whole_start(struct mmu_notifier *sub, const struct mmu_notifier_range *range)
{
	atomic_fetch_add(&starts, 1);
	return 0;
}

static void whole_end(struct mmu_notifier *sub, const struct mmu_notifier_range *range)
{
	atomic_fetch_add(&ends, 1);
}

static struct mmu_notifier held;

static struct mmu_notifier *alloc(struct mm_struct *mm)
{
	return &held;
}

static void released(struct mmu_notifier *sub)
{
	atomic_fetch_add(&frees, 1);
}

static void get_and_put(struct life *life)
{
	static const struct mmu_notifier_ops ops = {.invalidate_range_start = whole_start,
						    .invalidate_range_end = whole_end,
						    .alloc_notifier = alloc,
						    .free_notifier = released};
	struct mmu_notifier *got;
	int before = atomic_load(&frees);
	int ret = quiet(mmu_notifier_get(&ops, life->mm, &got));

	DOCUMENTED("mmu_notifier_get", ret, EINVAL, ENOMEM, ENODEV, EOPNOTSUPP);
	if (ret)
		return;
	quiet_void(mmu_notifier_put(got));
	quiet_void(mmu_notifier_synchronize());
	if (atomic_load(&frees) != before + 1)
		broken("memory: a notifier that was put is not freed");
}

void whole_mm(struct life *life)
{
	static const struct mmu_notifier_ops ops = {.invalidate_range_start = whole_start,
						    .invalidate_range_end = whole_end};
	struct mmu_notifier whole = {.ops = &ops};
	int ret;

	stage("a whole-mm notifier");
	ret = quiet(mmu_notifier_register(&whole, life->mm));
	DOCUMENTED("mmu_notifier_register", ret, EINVAL, ENODEV, EOPNOTSUPP);
	if (ret)
		return;
	atomic_store(&starts, 0);
	atomic_store(&ends, 0);
	for (unsigned int i = 0; i < 2; i++) {
		struct mmu_notifier_range range;

		init(&range, &life->region[i]);
		range.mm = life->mm;
		start(&range);
		end(&range);
	}
	quiet_void(mmu_notifier_unregister(&whole, life->mm));
	/* Another thread's (libc's, at its exit) may be open still when it goes. */
	if (atomic_load(&starts) < 2 || atomic_load(&ends) < 2 ||
	    atomic_load(&ends) > atomic_load(&starts))
		broken("unwatched: a whole-mm notifier had %d starts, %d ends",
		       atomic_load(&starts), atomic_load(&ends));
	get_and_put(life);
}

/* ---- fork -------------------------------------------------------------------- */

static void child(struct life *life)
{
	struct life mine = {
		.sources = life->sources,
		.again = life->again,
		.filtered = life->sources != ~0U && (life->sources & HMMU_SOURCE_SECCOMP),
	};
	struct region *r = &life->region[0];

	stage("forked child: the parent's mm");
	if (r->inserted && quiet(hmmu_access_ok(&r->sub, r->seq)))
		broken("stale: a child's check of its parent's translation passes");
	if (quiet(hmmu_mm_close(life->mm)))
		broken("undocumented: close of the parent's mm in a child");
	stage("forked child: open");
	if (!life_open(&mine)) {
		region_new(&mine.region[0], r->at);
		region_insert(&mine.region[0], mine.mm);
		stage("forked child: changes");
		for (int i = 1; i < REGIONS; i++)
			region_new(&mine.region[i], fresh(REGION));
		changes(&mine);
		for (int i = 0; i < REGIONS; i++)
			region_remove(&mine.region[i]);
		stage("forked child: close");
		if (quiet(hmmu_mm_close(mine.mm)))
			broken("undocumented: a child cannot close its mm");
	}
	hmmu_syscall6(SYS_exit_group, 0, 0, 0, 0, 0, 0);
}

void children(struct life *life)
{
	struct region *r = &life->region[0];
	unsigned int calls = atomic_load(&r->calls);
	bool told = exactness(life->mm, HMMU_OP_FORK, HMMU_CALLER_LIBC) >= HMMU_BY_RETURN;
	bool cached;
	int status;
	pid_t pid;

	stage("fork");
	cached = region_load(r);
	pid = fork();
	if (pid < 0)
		broken("the test cannot fork");
	if (!pid)
		child(life);
	if (told && cached && atomic_load(&r->calls) == calls &&
	    quiet(hmmu_access_ok(&r->sub, r->seq)))
		broken("unwatched: nobody was told of fork");
	while (waitpid(pid, &status, 0) != pid)
		;
	if (!WIFEXITED(status) || WEXITSTATUS(status))
		broken("crash: a forked child ended with status %#x", (unsigned int)status);
	stage("after fork");
}
