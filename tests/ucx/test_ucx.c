// SPDX-License-Identifier: MIT
/*
 * test_ucx.c - hmmu/ucx.h's promises, on the real UCX, with the interleavings forced.
 *
 * The first tests run before any address space is opened: UCX as it is. What is stale
 * there must be stale, or the tests behind them would show nothing. Run in each of UCX's hook
 * modes (UCX_MEM_MMAP_HOOK_MODE); what needs its hooks is skipped where it has none.
 */
#include <errno.h>
#include <fcntl.h>
#include <semaphore.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/shm.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include <hmmu/ucx.h>

#include "cache.h"
#include "plant.h"

static struct mm_struct *mm;
static bool ucx_hooks; /* UCX hears of a munmap without us */
static bool reloc;     /* by relocations */

static const struct hmmu_mm_options hooks = {
	.size = sizeof(hooks),
	.sources = HMMU_SOURCE_HOOKS,
	.require = HMMU_BRACKETED,
};

/* ---- pages and their generations ------------------------------------------- */

static void *map_at(void *at, int more)
{
	void *p = mmap(at, PAGE, RW, ANON | more, -1, 0);

	assert_ptr_not_equal(p, MAP_FAILED);
	return p;
}

static void *new_page(uint64_t generation)
{
	uint64_t *p = map_at(NULL, 0);

	*p = generation;
	return p;
}

/* The page that the next test's threads work on. */
static char *page;

static void remap(uint64_t generation)
{
	assert_int_equal(munmap(page, PAGE), 0);
	assert_ptr_equal(map_at(page, MAP_FIXED_NOREPLACE), page);
	*(uint64_t *)page = generation;
}

static void in_thread(void *(*fn)(void *))
{
	pthread_t t;

	assert_int_equal(pthread_create(&t, NULL, fn, NULL), 0);
	pthread_join(t, NULL);
}

/* ---- a look-up between UCX's event and the system call ------------------------- */

static sem_t ask, answered;

static void *look_when_asked(void *arg)
{
	sem_wait(&ask);
	look(page);
	sem_post(&answered);
	return NULL;
}

static void have_it_looked_up(void)
{
	sem_post(&ask);
	sem_wait(&answered);
}

/* What the cache answers when another thread looked into the window. */
static uint64_t after_the_window(void)
{
	pthread_t t;
	uint64_t got;

	page = new_page(1);
	assert_int_equal(look(page), 1);
	assert_int_equal(pthread_create(&t, NULL, look_when_asked, NULL), 0);
	before_munmap(page, have_it_looked_up);
	remap(2);
	pthread_join(t, NULL);
	assert_int_equal(holds(page), 2);
	got = look(page);
	munmap(page, PAGE);
	return got;
}

static void test_window_ucx_alone(void **state)
{
	if (!ucx_hooks)
		skip();
	assert_int_equal(after_the_window(), 1);
}

static void test_window(void **state)
{
	if (!ucx_hooks)
		skip();
	assert_int_equal(hmmu_ucx_start(mm, NULL), 0);
	assert_int_equal(after_the_window(), 2);
	assert_int_equal(hmmu_ucx_stop(), 0);
	/* And as before again. */
	assert_int_equal(after_the_window(), 1);
}

/* What was stale before the start is gone. */
static void test_start_forgets(void **state)
{
	if (!ucx_hooks)
		skip();
	page = new_page(1);
	look(page);
	/* A change of which UCX hears nothing. */
	assert_int_equal(mprotect(page, PAGE, PROT_READ), 0);
	assert_int_equal(mprotect(page, PAGE, RW), 0);
	*(uint64_t *)page = 2;
	assert_true(cached(page));
	assert_int_equal(hmmu_ucx_start(mm, NULL), 0);
	assert_false(cached(page));
	assert_int_equal(hmmu_ucx_stop(), 0);
	munmap(page, PAGE);
}

/* ---- the address is given to another thread before the end is told --------------- */

static struct mmu_notifier gate;
static atomic_bool gate_armed;
static sem_t gate_answered;
static uint64_t gate_got;

static void *map_and_look(void *arg)
{
	char *p = mmap(page, PAGE, RW, ANON | MAP_FIXED_NOREPLACE, -1, 0);

	if (p != (char *)page)
		abort();
	*(uint64_t *)p = 2;
	gate_got = look(p);
	sem_post(&gate_answered);
	return NULL;
}

/* Before the adapter hears of the end: an mmap that did not wait for it would answer now. */
static void gate_end(struct mmu_notifier *n, const struct mmu_notifier_range *range)
{
	struct timespec limit;
	pthread_t t;

	if (range->start != (unsigned long)page || !atomic_exchange(&gate_armed, false))
		return;
	if (pthread_create(&t, NULL, map_and_look, NULL))
		abort();
	pthread_detach(t);
	clock_gettime(CLOCK_REALTIME, &limit);
	limit.tv_nsec += 300000000;
	limit.tv_sec += limit.tv_nsec / 1000000000;
	limit.tv_nsec %= 1000000000;
	if (sem_timedwait(&gate_answered, &limit) == 0)
		sem_post(&gate_answered);
}

static void test_reused_before_the_end(void **state)
{
	static const struct mmu_notifier_ops ops = {.invalidate_range_end = gate_end};
	pthread_t t;

	if (!ucx_hooks)
		skip();
	gate.ops = &ops;
	assert_int_equal(sem_init(&gate_answered, 0, 0), 0);
	assert_int_equal(mmu_notifier_register(&gate, mm), 0);
	assert_int_equal(hmmu_ucx_start(mm, NULL), 0);
	page = new_page(1);
	look(page);
	assert_int_equal(pthread_create(&t, NULL, look_when_asked, NULL), 0);
	before_munmap(page, have_it_looked_up); /* caches the dying page */
	atomic_store(&gate_armed, true);
	munmap(page, PAGE);
	sem_wait(&gate_answered);
	pthread_join(t, NULL);
	assert_int_equal(gate_got, 2);
	assert_int_equal(hmmu_ucx_stop(), 0);
	mmu_notifier_unregister(&gate, mm);
	munmap(page, PAGE);
}

/* ---- a remap inside the registration --------------------------------------------- */

static void *remap_to_2(void *arg)
{
	remap(2);
	return NULL;
}

static void remap_in_thread(void)
{
	in_thread(remap_to_2);
}

static void test_remap_in_registration(void **state)
{
	assert_int_equal(hmmu_ucx_start(mm, NULL), 0);
	page = new_page(1);
	in_next_registration(remap_in_thread);
	/* That one was in flight; the next is not. */
	assert_int_equal(look(page), 1);
	assert_int_equal(look(page), 2);
	munmap(page, PAGE);
	assert_int_equal(hmmu_ucx_stop(), 0);
}

/* ---- each operation ------------------------------------------------------------------ */

static int file = -1;

static void *prepare_anon(void)
{
	return new_page(1);
}

static void *prepare_file(void)
{
	uint64_t *p;

	assert_int_equal(ftruncate(file, 0), 0);
	assert_int_equal(ftruncate(file, PAGE), 0);
	p = mmap(NULL, PAGE, RW, MAP_SHARED, file, 0);
	assert_ptr_not_equal(p, MAP_FAILED);
	*p = 1;
	return p;
}

static void *prepare_segment(void)
{
	int id = shmget(IPC_PRIVATE, PAGE, IPC_CREAT | 0600);
	uint64_t *p;

	assert_true(id >= 0);
	p = shmat(id, NULL, 0);
	shmctl(id, IPC_RMID, NULL);
	assert_ptr_not_equal(p, (void *)-1);
	*p = 1;
	return p;
}

/* A look-up would allocate, and move the break. */
static void *prepare_break(void)
{
	char *p = sbrk(0);

	p += -(uintptr_t)p % PAGE;
	assert_int_equal(brk(p + PAGE), 0);
	return p;
}

static void do_munmap(void *p)
{
	munmap(p, PAGE);
}

static void do_map_over(void *p)
{
	map_at(p, MAP_FIXED);
}

static void do_mremap_from(void *p)
{
	mremap(p, PAGE, PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, new_page(3));
}

static void do_mremap_onto(void *p)
{
	mremap(new_page(3), PAGE, PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, p);
}

static void do_dontneed(void *p)
{
	madvise(p, PAGE, MADV_DONTNEED);
}

static void do_free(void *p)
{
	madvise(p, PAGE, MADV_FREE);
}

static void do_remove(void *p)
{
	madvise(p, PAGE, MADV_REMOVE);
}

static void do_mprotect(void *p)
{
	mprotect(p, PAGE, PROT_READ);
}

static void do_brk(void *p)
{
	assert_int_equal(brk(p), 0);
}

static void do_shmdt(void *p)
{
	shmdt(p);
}

static void do_ftruncate(void *p)
{
	assert_int_equal(ftruncate(file, 0), 0);
}

static void do_punch(void *p)
{
	assert_int_equal(fallocate(file, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, PAGE),
			 0);
}

static void do_fork(void *p)
{
	pid_t pid = fork();

	if (!pid)
		_exit(0);
	waitpid(pid, NULL, 0);
}

static const struct operation {
	const char *name;
	void *(*prepare)(void);
	void (*change)(void *p);
	bool missed; /* UCX 1.13's own hooks do not hear of it */
} operations[] = {
	{"munmap", prepare_anon, do_munmap, false},
	{"mmap, MAP_FIXED", prepare_anon, do_map_over, false},
	{"mremap, source", prepare_anon, do_mremap_from, false},
	{"mremap, destination", prepare_anon, do_mremap_onto, true},
	{"MADV_DONTNEED", prepare_anon, do_dontneed, false},
	{"MADV_FREE", prepare_anon, do_free, false},
	{"MADV_REMOVE", prepare_file, do_remove, false},
	{"mprotect", prepare_anon, do_mprotect, true},
	{"brk", prepare_break, do_brk, false},
	{"shmdt", prepare_segment, do_shmdt, false},
	{"ftruncate", prepare_file, do_ftruncate, true},
	{"fallocate, a hole", prepare_file, do_punch, true},
	{"fork", prepare_anon, do_fork, true},
};
#define N_OPERATIONS (sizeof(operations) / sizeof(operations[0]))

/* How often UCX was told of it, and whether it has forgotten the page. */
static unsigned int hears(const struct operation *op, bool *forgotten)
{
	char *p = op->prepare();
	unsigned int n;

	*forgotten = true;
	if (op->prepare != prepare_break)
		look(p);
	told(p);
	op->change(p);
	n = told(p);
	if (op->prepare != prepare_break)
		*forgotten = !cached(p);
	munmap(p, PAGE);
	return n;
}

/* By relocations UCX moves the pages itself and loses where to, and moves the break by a raw
 * system call of its own. */
static bool skipped(const struct operation *op)
{
	return reloc && (strstr(op->name, "mremap") || op->prepare == prepare_break);
}

static void test_operations_ucx_alone(void **state)
{
	bool forgotten;

	if (!ucx_hooks)
		skip();
	for (size_t i = 0; i < N_OPERATIONS; i++) {
		unsigned int n;

		if (skipped(&operations[i]))
			continue;
		n = hears(&operations[i], &forgotten);
		print_message("%-20s told %u\n", operations[i].name, n);
		/* By relocations it misses more, mmap64() for one. */
		if (reloc)
			continue;
		assert_int_equal(n > 0, !operations[i].missed);
		if (operations[i].prepare != prepare_break)
			assert_int_equal(forgotten, !operations[i].missed);
	}
}

static void test_operations(void **state)
{
	struct hmmu_ucx_stats before, after;
	bool forgotten, alone;

	assert_int_equal(hmmu_ucx_start(mm, NULL), 0);
	for (size_t i = 0; i < N_OPERATIONS; i++) {
		unsigned int n;

		if (skipped(&operations[i]))
			continue;
		hmmu_ucx_get_stats(&before);
		n = hears(&operations[i], &forgotten);
		hmmu_ucx_get_stats(&after);
		print_message("%-20s told %u\n", operations[i].name, n);
		alone = ucx_hooks && !operations[i].missed && !reloc;
		assert_true(n >= 2u + alone);
		assert_true(forgotten);
		assert_true(after.starts > before.starts);
		assert_int_equal(after.ends - before.ends, after.starts - before.starts);
	}
	assert_int_equal(hmmu_ucx_stop(), 0);
}

/* By libc itself, with no call of the program's. */
static void test_inside_free(void **state)
{
	char *p = malloc(64 << 20);
	uintptr_t at = (uintptr_t)p & -PAGE;

	assert_int_equal(hmmu_ucx_start(mm, NULL), 0);
	told((void *)at);
	free(p);
	assert_true(told((void *)at) >= 2);
	assert_int_equal(hmmu_ucx_stop(), 0);
}

/* ---- start, stop ------------------------------------------------------------------------ */

static unsigned int told_of_a_munmap(void)
{
	page = new_page(1);
	told(page);
	munmap(page, PAGE);
	return told(page);
}

static void test_start_and_stop(void **state)
{
	struct hmmu_ucx_options o = {.size = sizeof(o), .flags = HMMU_UCX_EXTERNAL};

	for (int i = 0; i < 3; i++) {
		errno = 1234;
		assert_int_equal(told_of_a_munmap(), ucx_hooks);
		assert_int_equal(hmmu_ucx_stop(), -ENOENT);
		assert_int_equal(hmmu_ucx_start(mm, i == 1 ? &o : NULL), 0);
		assert_null(hmmu_ucx_why());
		assert_int_equal(hmmu_ucx_start(mm, NULL), -EEXIST);
		assert_int_equal(hmmu_mm_close(mm), -EBUSY);
		assert_int_equal(told_of_a_munmap(), 2 + ucx_hooks);
		assert_int_equal(hmmu_ucx_stop(), 0);
		assert_int_equal(errno, 1234);
	}
	assert_int_equal(told_of_a_munmap(), ucx_hooks);
}

static void test_refused(void **state)
{
	struct hmmu_ucx_options o = {.size = sizeof(o)};

	assert_int_equal(hmmu_ucx_start(NULL, NULL), -EINVAL);
	o.size--;
	assert_int_equal(hmmu_ucx_start(mm, &o), -EINVAL);
	o.size++;
	o.flags = 1u << 2;
	assert_int_equal(hmmu_ucx_start(mm, &o), -EINVAL);
	o.flags = 0;
	o.reserved[4] = 1;
	assert_int_equal(hmmu_ucx_start(mm, &o), -EINVAL);
	assert_int_equal(told_of_a_munmap(), ucx_hooks);
}

/* An mm that nobody tells is refused; if the program itself tells it, UCX is told. */
static void test_explicit(void **state)
{
	const struct hmmu_mm_options none = {.size = sizeof(none)};
	const struct hmmu_ucx_options unproven = {.size = sizeof(unproven),
						  .flags = HMMU_UCX_UNPROVEN};
	struct mmu_notifier_range range;
	struct mm_struct *own;

	assert_int_equal(hmmu_mm_open(&own, &none), 0);
	assert_int_equal(hmmu_ucx_start(own, NULL), -EOPNOTSUPP);
	assert_non_null(hmmu_ucx_why());
	assert_int_equal(hmmu_ucx_start(own, &unproven), 0);
	assert_null(hmmu_ucx_why());
	page = new_page(1);
	mmu_notifier_range_init(&range, MMU_NOTIFY_CLEAR, 0, own, (unsigned long)page,
				(unsigned long)page + PAGE);
	look(page);
	told(page);
	assert_int_equal(mmu_notifier_invalidate_range_start_nonblock(&range), 0);
	assert_int_equal(told(page), 1);
	assert_false(cached(page));
	assert_true(cached(page));
	mmu_notifier_invalidate_range_end(&range);
	assert_int_equal(told(page), 1);
	assert_false(cached(page));
	assert_int_equal(hmmu_ucx_stop(), 0);
	assert_int_equal(hmmu_mm_close(own), 0);
	munmap(page, PAGE);
}

/* ---- stop while others unmap: G3 --------------------------------------------------------- */

static sem_t arrived, open_gate;
static atomic_bool left, returned;
static atomic_int stopper;

/* Within seconds: only who waits for what never comes is given up. */
static bool comes(sem_t *sem)
{
	struct timespec limit;

	clock_gettime(CLOCK_REALTIME, &limit);
	limit.tv_sec += 10;
	return sem_timedwait(sem, &limit) == 0;
}

/* In the adapter's callback: the event of the explicit start below. */
static void wait_at_gate(void)
{
	sem_post(&arrived);
	sem_wait(&open_gate);
	left = true;
}

static void *stop_it(void *arg)
{
	stopper = gettid();
	assert_int_equal(hmmu_ucx_stop(), 0);
	assert_true(left);
	returned = true;
	return NULL;
}

static void *start_range(void *range)
{
	mmu_notifier_invalidate_range_start(range);
	return NULL;
}

static bool asleep(int tid)
{
	char path[64], line[256] = "";
	FILE *f;

	snprintf(path, sizeof(path), "/proc/self/task/%d/stat", tid);
	f = fopen(path, "r");
	if (!f)
		return false;
	if (!fgets(line, sizeof(line), f))
		line[0] = 0;
	fclose(f);
	return strstr(line, ") S ") != NULL;
}

/*
 *	a thread in start(X)			stop()
 *	callback, UCX's handlers run
 *						waits		[Required]
 *	they return
 *						returns
 *	end(X): nothing is told			[Required]
 */
static void test_stop_waits(void **state)
{
	const struct hmmu_mm_options none = {.size = sizeof(none)};
	const struct hmmu_ucx_options unproven = {.size = sizeof(unproven),
						  .flags = HMMU_UCX_UNPROVEN};
	struct mmu_notifier_range range;
	struct mm_struct *own;
	pthread_t starter, stopping;

	assert_int_equal(hmmu_mm_open(&own, &none), 0);
	assert_int_equal(hmmu_ucx_start(own, &unproven), 0);
	page = new_page(1);
	mmu_notifier_range_init(&range, MMU_NOTIFY_CLEAR, 0, own, (unsigned long)page,
				(unsigned long)page + PAGE);
	in_event(page, wait_at_gate);
	assert_int_equal(pthread_create(&starter, NULL, start_range, &range), 0);
	assert_true(comes(&arrived));
	assert_int_equal(pthread_create(&stopping, NULL, stop_it, NULL), 0);
	/* Until it waits, or has not waited and is caught by what it asserts. */
	for (int seen = 0; seen < 20 && !returned;) {
		usleep(1000);
		seen += stopper && asleep(stopper);
	}
	in_event(page, NULL);
	sem_post(&open_gate);
	pthread_join(stopping, NULL);
	pthread_join(starter, NULL);
	told(page);
	mmu_notifier_invalidate_range_end(&range);
	assert_int_equal(told(page), 0);
	assert_int_equal(hmmu_mm_close(own), 0);
	munmap(page, PAGE);
}

static atomic_bool enough;

static void *churn(void *arg)
{
	while (!enough)
		munmap(map_at(NULL, 0), PAGE);
	return NULL;
}

/* Where UCX has no hooks, what it hears it hears from us. */
static void test_stop_in_a_storm(void **state)
{
	pthread_t t[2];

	for (int i = 0; i < 2; i++)
		assert_int_equal(pthread_create(&t[i], NULL, churn, NULL), 0);
	for (int i = 0; i < 20; i++) {
		assert_int_equal(hmmu_ucx_start(mm, NULL), 0);
		assert_int_equal(hmmu_ucx_stop(), 0);
		told_at_all();
		if (ucx_hooks)
			continue;
		for (int j = 0; j < 20; j++)
			sched_yield();
		assert_int_equal(told_at_all(), 0);
	}
	enough = true;
	for (int i = 0; i < 2; i++)
		pthread_join(t[i], NULL);
}

/* ---- fork ----------------------------------------------------------------------------------
 */

static int in_child(void)
{
	struct mm_struct *own;

	/* Nothing of the parent's. */
	if (told_of_a_munmap() != ucx_hooks)
		return 1;
	if (hmmu_ucx_stop() != -ENOENT)
		return 2;
	if (hmmu_ucx_start(mm, NULL) != -ENODEV)
		return 3;
	/* Its own. */
	if (hmmu_mm_open(&own, &hooks))
		return 4;
	if (hmmu_ucx_start(own, NULL))
		return 5;
	if (told_of_a_munmap() != 2u + ucx_hooks)
		return 6;
	if (hmmu_ucx_stop())
		return 7;
	return told_of_a_munmap() == ucx_hooks ? 0 : 8;
}

static void test_fork(void **state)
{
	int status = -1;
	pid_t pid;

	assert_int_equal(hmmu_ucx_start(mm, NULL), 0);
	pid = fork();
	if (!pid)
		_exit(in_child());
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
	assert_int_equal(told_of_a_munmap(), 2 + ucx_hooks);
	assert_int_equal(hmmu_ucx_stop(), 0);
}

/* ----------------------------------------------------------------------------------------------
 */

/* UCX without hooks creates no cache, unless somebody says that he delivers its events. */
static void open_without_hooks(void)
{
	struct hmmu_ucx_options o = {.size = sizeof(o), .flags = HMMU_UCX_EXTERNAL};

	assert_false(cache_open());
	assert_int_equal(hmmu_mm_open(&mm, &hooks), 0);
	assert_int_equal(hmmu_ucx_start(mm, &o), 0);
	assert_true(cache_open());
	assert_int_equal(hmmu_ucx_stop(), 0);
	assert_int_equal(hmmu_mm_close(mm), 0);
}

static int look_at_ucx(void **state)
{
	reloc = getenv("TESTS_UCX_RELOC") != NULL;
	if (getenv("TESTS_UCX_NO_HOOKS"))
		open_without_hooks();
	else
		assert_true(cache_open());
	ucx_hooks = told_of_a_munmap() == 1;
	print_message("UCX hooks libc: %s\n", ucx_hooks ? "yes" : "no");
	assert_int_equal(ucx_hooks, !getenv("TESTS_UCX_NO_HOOKS"));
	file = memfd_create("ucx", MFD_CLOEXEC);
	assert_true(file >= 0);
	sem_init(&ask, 0, 0);
	sem_init(&answered, 0, 0);
	sem_init(&arrived, 0, 0);
	sem_init(&open_gate, 0, 0);
	return 0;
}

/* A test that failed leaves nothing to the next. */
static int stop_anyway(void **state)
{
	in_event(NULL, NULL);
	hmmu_ucx_stop();
	return 0;
}

static int open_mm(void **state)
{
	return hmmu_mm_open(&mm, &hooks);
}

static int close_mm(void **state)
{
	int err = hmmu_mm_close(mm);

	cache_close();
	close(file);
	return err;
}

int main(void)
{
	const struct CMUnitTest alone[] = {
		cmocka_unit_test(test_window_ucx_alone),
		cmocka_unit_test(test_operations_ucx_alone),
	};
	const struct CMUnitTest with[] = {
		cmocka_unit_test_teardown(test_window, stop_anyway),
		cmocka_unit_test_teardown(test_reused_before_the_end, stop_anyway),
		cmocka_unit_test_teardown(test_start_forgets, stop_anyway),
		cmocka_unit_test_teardown(test_remap_in_registration, stop_anyway),
		cmocka_unit_test_teardown(test_operations, stop_anyway),
		cmocka_unit_test_teardown(test_inside_free, stop_anyway),
		cmocka_unit_test_teardown(test_start_and_stop, stop_anyway),
		cmocka_unit_test_teardown(test_refused, stop_anyway),
		cmocka_unit_test_teardown(test_explicit, stop_anyway),
		cmocka_unit_test_teardown(test_stop_waits, stop_anyway),
		cmocka_unit_test_teardown(test_stop_in_a_storm, stop_anyway),
		cmocka_unit_test_teardown(test_fork, stop_anyway),
	};
	const char *plant = getenv("HMMU_UCX_PLANT");

	hmmu_ucx_planted = plant ? atoi(plant) : 0;
	return cmocka_run_group_tests(alone, look_at_ucx, NULL) ||
	       cmocka_run_group_tests(with, open_mm, close_mm);
}
