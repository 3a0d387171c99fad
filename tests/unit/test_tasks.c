// SPDX-License-Identifier: MIT
/*
 * The list of threads: none that lives is missed. What the kernel answers when a thread ends
 * under it is played: the test's own system call hook takes what follows that thread away, as
 * the kernel does. Then the real one, with threads that come and go.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <unistd.h>

#include "arch/syscall.h"
#include "atomic.h"
#include "futex.h"
#include "source/tasks.h"

#define MANY 600 /* their entries do not go into 4 KiB, nor into 16 */
#define LISTS 500

static struct hmmu_tasks tasks;
static unsigned int played; /* how often the hook has changed an answer */

/* ---- threads ----------------------------------------------------------- */

struct sleeper {
	pthread_t t;
	uint32_t id; /* 0: not yet known */
	uint32_t leave;
};

static void *sleeper_run(void *arg)
{
	struct sleeper *s = arg;

	hmmu_store_release(&s->id, (uint32_t)hmmu_syscall(SYS_gettid));
	while (!hmmu_load_acquire(&s->leave))
		hmmu_futex_wait(&s->leave, 0, NULL);
	return NULL;
}

static void start(pthread_t *t, void *(*run)(void *), void *arg)
{
	pthread_attr_t attr;

	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, 64 << 10);
	assert_int_equal(pthread_create(t, &attr, run, arg), 0);
	pthread_attr_destroy(&attr);
}

static void sleep_in_a_thread(struct sleeper *s)
{
	memset(s, 0, sizeof(*s));
	start(&s->t, sleeper_run, s);
	while (!hmmu_load_acquire(&s->id))
		sched_yield();
}

/* Until the kernel has taken it off, which may be after pthread_join(). */
static void wake_and_join(struct sleeper *s)
{
	hmmu_store_release(&s->leave, 1);
	hmmu_futex_wake(&s->leave, 1);
	pthread_join(s->t, NULL);
	while (!hmmu_syscall6(SYS_tgkill, getpid(), (long)s->id, 0, 0, 0, 0))
		sched_yield();
}

static uint32_t stop;

static void *short_life(void *arg)
{
	return arg;
}

static void *comes_and_goes(void *arg)
{
	pthread_t t;

	while (!hmmu_load_acquire(&stop)) {
		assert_int_equal(pthread_create(&t, NULL, short_life, NULL), 0);
		pthread_join(t, NULL);
	}
	return arg;
}

/* ---- what the kernel may answer ---------------------------------------- */

static long real(long nr, const long a[6])
{
	return hmmu_syscall6(nr, a[0], a[1], a[2], a[3], a[4], a[5]);
}

static struct hmmu_task *last_of(char *list, long n)
{
	struct hmmu_task *task = (struct hmmu_task *)list;

	while ((char *)task + task->len < list + n)
		task = (struct hmmu_task *)((char *)task + task->len);
	return task;
}

/* The kernel came to one that ended just then: visited, not shown, and nothing after it. */
static long passed_over(long nr, const long a[6])
{
	long n = real(nr, a);

	if (nr == SYS_getdents64 && n > 0) {
		last_of((char *)a[1], n)->off++;
		played++;
	}
	return n;
}

static struct sleeper tail;

/* The last one was shown, and ends. */
static long last_gone(long nr, const long a[6])
{
	long n = real(nr, a);

	if (nr == SYS_getdents64 && n > 0) {
		wake_and_join(&tail);
		played++;
	}
	return n;
}

/* The number is a newer thread's. */
static long number_again(long nr, const long a[6])
{
	long n = real(nr, a);

	if (nr == SYS_getdents64 && n > 0) {
		last_of((char *)a[1], n)->ino++;
		played++;
	}
	return n;
}

static unsigned int shown(uint32_t id)
{
	unsigned int n = 0;

	for (struct hmmu_task *task = NULL; (task = hmmu_tasks_next(&tasks, task));)
		n += hmmu_task_id(task) == (int)id;
	return n;
}

/* As who needs the list does: again until it is sure. */
static void list(void)
{
	int ret;

	while ((ret = hmmu_tasks_list(&tasks)) == -EAGAIN)
		sched_yield();
	assert_int_equal(ret, 0);
}

/* ---- tests ------------------------------------------------------------- */

static int set_up(void **state)
{
	(void)state;
	hmmu_syscall_hook = NULL;
	played = 0;
	stop = 0;
	return hmmu_tasks_open(&tasks);
}

static int tear_down(void **state)
{
	(void)state;
	hmmu_syscall_hook = NULL;
	hmmu_tasks_close(&tasks);
	return 0;
}

static void not_believed(long (*kernel)(long, const long[6]))
{
	list();
	hmmu_syscall_hook = kernel;
	assert_int_equal(hmmu_tasks_list(&tasks), -EAGAIN);
	assert_int_equal(played, 1);
	hmmu_syscall_hook = NULL;
	list();
}

static void test_passed_over(void **state)
{
	(void)state;
	not_believed(passed_over);
}

static void test_last_gone(void **state)
{
	(void)state;
	sleep_in_a_thread(&tail);
	not_believed(last_gone);
}

static void test_number_again(void **state)
{
	(void)state;
	not_believed(number_again);
}

static void test_many(void **state)
{
	static struct sleeper many[MANY];

	(void)state;
	for (int i = 0; i < MANY; i++)
		sleep_in_a_thread(&many[i]);
	for (int k = 0; k < 2; k++) {
		list();
		assert_int_equal(shown((uint32_t)getpid()), 1);
		for (int i = 0; i < MANY; i++)
			assert_int_equal(shown(many[i].id), 1);
	}
	for (int i = 0; i < MANY; i++)
		wake_and_join(&many[i]);
}

static void test_read(void **state)
{
	char buf[8];
	const char *p = buf;

	(void)state;
	assert_int_equal(hmmu_task_read(&tasks, getpid(), "/stat", buf, sizeof(buf)), 7);
	assert_int_equal(buf[7], '\0');
	assert_int_equal(hmmu_number(&p), (unsigned long)getpid() % 10000000);
	assert_int_equal(hmmu_task_read(&tasks, getpid(), "/nothing", buf, sizeof(buf)),
			 -ENOENT);
	assert_int_equal(buf[0], '\0');
}

/* A newcomer stands behind those that end under the list. */
static void test_come_and_go(void **state)
{
	struct sleeper newcomer;
	pthread_t churn[2];

	(void)state;
	for (int i = 0; i < 2; i++)
		start(&churn[i], comes_and_goes, NULL);
	for (int i = 0; i < LISTS; i++) {
		sleep_in_a_thread(&newcomer);
		list();
		assert_int_equal(shown(newcomer.id), 1);
		wake_and_join(&newcomer);
	}
	hmmu_store_release(&stop, 1);
	for (int i = 0; i < 2; i++)
		pthread_join(churn[i], NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(test_##name, set_up, tear_down)
		TEST(passed_over), TEST(last_gone), TEST(number_again),
		TEST(many),	   TEST(read),	    TEST(come_and_go),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
