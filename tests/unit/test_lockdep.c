// SPDX-License-Identifier: MIT
/*
 * The order of locks is reported when it is possible: never do two threads meet here. Each
 * case is a child of its own (which starts with nothing known); what it wrote on descriptor 2
 * is looked at, stacks by addr2line.
 */
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "instance.h"
#include "notifier/notifier.h"

#ifdef __clang__
#define NOINLINE __attribute__((noinline, not_tail_called))
#else
#define NOINLINE __attribute__((noinline, noipa))
#endif

static char text[65536];

/* What @fn reports, in text. */
static void child(void (*fn)(void))
{
	int fds[2], status;
	size_t got = 0;
	ssize_t n;
	pid_t pid;

	assert_int_equal(pipe(fds), 0);
	fflush(NULL);
	pid = fork();
	assert_true(pid >= 0);
	if (!pid) {
		alarm(20);
		dup2(fds[1], 2);
		fn();
		_exit(0);
	}
	close(fds[1]);
	while ((n = read(fds[0], text + got, sizeof(text) - 1 - got)) > 0)
		got += (size_t)n;
	text[got] = '\0';
	close(fds[0]);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	if (status)
		print_error("%s", text);
	assert_int_equal(status, 0);
}

static unsigned int count(const char *what)
{
	unsigned int n = 0;

	for (const char *p = text; (p = strstr(p, what)); p++)
		n++;
	return n;
}

/* The text from @head to the next line that is no frame. */
static const char *part(const char *head, char *out, size_t size)
{
	const char *p = strstr(text, head), *end;

	out[0] = '\0';
	if (!p)
		return out;
	end = strchr(p, '\n') + 1;
	while (!strncmp(end, "hmmu:       #", 13))
		end = strchr(end, '\n') + 1;
	snprintf(out, size, "%.*s", (int)(end - p), p);
	return out;
}

/* Is @function among the frames below the line that holds @head? */
static bool stack_has(const char *head, const char *function)
{
	char lines[8192], command[1024], file[512], answer[512];
	unsigned long pc, offset;
	bool found = false;
	FILE *f;

	part(head, lines, sizeof(lines));
	for (char *p = lines; !found && (p = strstr(p, " 0x")); p++) {
		if (sscanf(p, " 0x%lx %511[^+]+0x%lx", &pc, file, &offset) != 3)
			continue;
		/* A return address is behind its call. */
		snprintf(command, sizeof(command), "addr2line -f -i -e %s 0x%lx", file,
			 offset - 1);
		f = popen(command, "r");
		assert_non_null(f);
		while (fgets(answer, sizeof(answer), f)) {
			answer[strcspn(answer, "\n")] = '\0';
			found |= !strcmp(answer, function);
		}
		pclose(f);
	}
	if (!found)
		print_error("no %s in:\n%s\nall:\n%s", function, lines, text);
	return found;
}

/* The variable whose file and offset follow @head. */
static const char *symbol_at(const char *head)
{
	static char answer[512];
	char command[1024], file[512];
	unsigned long offset;
	FILE *f;

	assert_int_equal(
		sscanf(strstr(text, head) + strlen(head), "%511[^+]+0x%lx", file, &offset), 2);
	snprintf(command, sizeof(command), "nm %s | awk '$1 ~ /^0*%lx$/ { print $3 }'", file,
		 offset);
	f = popen(command, "r");
	assert_non_null(f);
	assert_non_null(fgets(answer, sizeof(answer), f));
	pclose(f);
	answer[strcspn(answer, "\n")] = '\0';
	return answer;
}

/* ---- two locks ------------------------------------------------------------ */

static char a, b, c;

NOINLINE static void a_then_b(void)
{
	hmmu_debug_lock(&a, "A", false);
	hmmu_debug_lock(&b, "B", false);
	hmmu_debug_unlock(&b);
	hmmu_debug_unlock(&a);
}

NOINLINE static void b_then_a(void)
{
	hmmu_debug_lock(&b, "B", false);
	hmmu_debug_lock(&a, "A", false);
	hmmu_debug_unlock(&a);
	hmmu_debug_unlock(&b);
}

static void *thread(void *fn)
{
	((void (*)(void))fn)();
	return NULL;
}

/* In a thread that is over before anything else happens. */
static void in_thread(void (*fn)(void))
{
	pthread_t t;

	if (pthread_create(&t, NULL, thread, (void *)fn) || pthread_join(t, NULL))
		_exit(1);
}

static void both_orders(void)
{
	in_thread(a_then_b);
	in_thread(b_then_a);
	in_thread(b_then_a);
}

static void test_both_orders(void **state)
{
	(void)state;
	child(both_orders);
	assert_int_equal(count("misuse: lock-order"), 1); /* and not again */
	assert_int_equal(count("now:    B is held, A is waited for"), 1);
	assert_true(stack_has("now: ", "b_then_a"));
	assert_int_equal(count("before: A -> B"), 1);
	assert_true(stack_has("before: ", "a_then_b"));
}

static void one_order(void)
{
	in_thread(a_then_b);
	in_thread(a_then_b);
	a_then_b();
	hmmu_debug_lock(&b, "B", false);
	hmmu_debug_unlock(&b);
	hmmu_debug_lock(&a, "A", false);
	hmmu_debug_unlock(&a);
}

static void test_one_order(void **state)
{
	(void)state;
	child(one_order);
	assert_string_equal(text, "");
}

/* Not released in the order of a stack. */
static void crossed(void)
{
	hmmu_debug_lock(&a, "A", false);
	hmmu_debug_lock(&c, "C", true);
	hmmu_debug_unlock(&a);
	hmmu_debug_lock(&b, "B", false); /* C -> B, not A -> B */
	hmmu_debug_unlock(&c);
	hmmu_debug_unlock(&b);
	b_then_a();
}

static void test_crossed(void **state)
{
	(void)state;
	child(crossed);
	assert_string_equal(text, "");
}

static void try_does_not_wait(void)
{
	in_thread(a_then_b);
	hmmu_debug_lock(&b, "B", false);
	hmmu_debug_lock(&a, "A", true);
	hmmu_debug_unlock(&a);
	hmmu_debug_unlock(&b);
}

static void test_try(void **state)
{
	(void)state;
	child(try_does_not_wait);
	assert_string_equal(text, "");
}

NOINLINE static void b_then_c(void)
{
	hmmu_debug_lock(&b, "B", false);
	hmmu_debug_lock(&c, "C", false);
	hmmu_debug_unlock(&c);
	hmmu_debug_unlock(&b);
}

NOINLINE static void c_then_a(void)
{
	hmmu_debug_lock(&c, "C", false);
	hmmu_debug_lock(&a, "A", false);
	hmmu_debug_unlock(&a);
	hmmu_debug_unlock(&c);
}

static void three(void)
{
	in_thread(a_then_b);
	in_thread(b_then_c);
	in_thread(c_then_a);
}

static void test_three(void **state)
{
	(void)state;
	child(three);
	assert_int_equal(count("misuse: lock-order"), 1);
	assert_int_equal(count("now:    C is held, A is waited for"), 1);
	assert_true(stack_has("now: ", "c_then_a"));
	assert_true(stack_has("before: A -> B", "a_then_b"));
	assert_true(stack_has("before: B -> C", "b_then_c"));
}

static void twice(void)
{
	hmmu_debug_lock(&a, "A", false);
	hmmu_debug_lock(&b, "A", false); /* another one of its kind: not checked */
	hmmu_debug_lock(&a, "A", false);
}

static void test_twice(void **state)
{
	(void)state;
	child(twice);
	assert_int_equal(count("hmmu:"), 1);
	assert_int_equal(count("misuse: lock-taken-twice"), 1);
}

/* ---- with invalidations ---------------------------------------------------- */

static struct mm_struct *mm;
static struct mmu_interval_notifier sub;
static bool takes; /* the callback: lock A */

NOINLINE static bool calls_back(struct mmu_interval_notifier *s,
				const struct mmu_notifier_range *range, unsigned long seq)
{
	(void)range;
	mmu_interval_set_seq(s, seq);
	if (takes) {
		hmmu_debug_lock(&a, "A", false);
		hmmu_debug_unlock(&a);
	}
	return true;
}

static const struct mmu_interval_notifier_ops ops = {.invalidate = calls_back};

static void open_mm(void)
{
	struct hmmu_mm_options o = {.size = sizeof(o), .flags = HMMU_MM_OWN_RECLAIM};

	if (hmmu_mm_open(&mm, &o) || mmu_interval_notifier_insert(&sub, mm, 4096, 4096, &ops))
		_exit(2);
}

static void range_of(struct mmu_notifier_range *range, unsigned long start)
{
	mmu_notifier_range_init(range, MMU_NOTIFY_UNMAP, 0, mm, start, start + 4096);
}

static void pair(unsigned long start)
{
	struct mmu_notifier_range range;

	range_of(&range, start);
	if (mmu_notifier_invalidate_range_start(&range))
		_exit(3);
	mmu_notifier_invalidate_range_end(&range);
}

NOINLINE static void declares(void)
{
	hmmu_driver_lock_acquired(&sub);
	hmmu_driver_lock_released(&sub);
}

NOINLINE static void changes_under_lock(void)
{
	hmmu_driver_lock_acquired(&sub);
	pair(1 << 20); /* nobody watches that */
	pair(4096);
	hmmu_driver_lock_released(&sub);
}

static void driver(void)
{
	open_mm();
	in_thread(declares); /* no callback has ever run */
	in_thread(changes_under_lock);
}

static void test_start_under_driver_lock(void **state)
{
	(void)state;
	child(driver);
	assert_int_equal(count("misuse: lock-order"), 1);
	assert_int_equal(count("now:    driver lock is held, callback is waited for"), 1);
	assert_true(stack_has("now: ", "changes_under_lock"));
	assert_true(stack_has("declared: callback -> driver lock", "declares"));
}

/* Whatever malloc() a sanitizer has. */
extern void *__libc_malloc(size_t size);
extern void __libc_free(void *p);

/* The lock, the allocator's and the callback: three edges would do, one report. */
NOINLINE static void frees_under_lock(void *volatile block)
{
	hmmu_driver_lock_acquired(&sub);
	__libc_free(block);
	hmmu_driver_lock_released(&sub);
}

static void frees(void)
{
	struct hmmu_mm_options o = {
		.size = sizeof(o), .sources = HMMU_SOURCE_HOOKS, .flags = HMMU_MM_OWN_RECLAIM};
	void *block = __libc_malloc(8 << 20);

	if (hmmu_mm_open(&mm, &o) || mmu_interval_notifier_insert(&sub, mm, 4096, 4096, &ops))
		_exit(2);
	declares();
	frees_under_lock(block);
}

static void test_free_under_driver_lock(void **state)
{
	(void)state;
	child(frees);
	assert_int_equal(count("hmmu: misuse: "), 1);
	assert_int_equal(count("now:    driver lock is held, inside libc is waited for"), 1);
	assert_true(stack_has("now: ", "frees_under_lock"));
	assert_true(stack_has("declared: callback -> driver lock", "declares"));
}

/* Two drivers: two classes, told apart by their ops. */
static const struct mmu_interval_notifier_ops ops2 = {.invalidate = calls_back};
static struct mmu_interval_notifier sub2;

NOINLINE static void first_second(void)
{
	hmmu_driver_lock_acquired(&sub);
	hmmu_driver_lock_acquired(&sub2);
	hmmu_driver_lock_released(&sub2);
	hmmu_driver_lock_released(&sub);
}

NOINLINE static void second_first(void)
{
	hmmu_driver_lock_acquired(&sub2);
	hmmu_driver_lock_acquired(&sub);
	hmmu_driver_lock_released(&sub);
	hmmu_driver_lock_released(&sub2);
}

static void two_drivers(void)
{
	open_mm();
	if (mmu_interval_notifier_insert(&sub2, mm, 8192, 4096, &ops2))
		_exit(9);
	first_second();
	second_first();
}

static void test_two_drivers(void **state)
{
	char name[64];

	(void)state;
	child(two_drivers);
	assert_int_equal(count("misuse: lock-order"), 1);
	assert_int_equal(count("now:    driver lock 02 is held, driver lock is waited for"), 1);
	assert_true(stack_has("before: driver lock -> driver lock 02", "first_second"));
	snprintf(name, sizeof(name), "driver lock: of subscriptions with ops %p ",
		 (void *)&ops);
	assert_int_equal(count(name), 1);
	snprintf(name, sizeof(name), "driver lock 02: of subscriptions with ops %p ",
		 (void *)&ops2);
	assert_int_equal(count(name), 1);
	assert_string_equal(symbol_at(name), "ops2");
}

static void nonblock(void)
{
	struct mmu_notifier_range range;

	open_mm();
	hmmu_driver_lock_acquired(&sub);
	range_of(&range, 4096);
	if (mmu_notifier_invalidate_range_start_nonblock(&range))
		_exit(4);
	mmu_notifier_invalidate_range_end(&range);
	hmmu_driver_lock_released(&sub);
}

static void test_nonblock_under_driver_lock(void **state)
{
	(void)state;
	child(nonblock);
	assert_string_equal(text, "");
}

/* A callback has taken A once; later somebody waits under A, for nobody. */
NOINLINE static void waits_under_a(void)
{
	hmmu_debug_lock(&a, "A", false);
	mmu_interval_read_begin(&sub);
	hmmu_debug_unlock(&a);
}

static void begin_under_a(void)
{
	open_mm();
	takes = true;
	pair(4096);
	in_thread(waits_under_a);
}

static void test_begin_under_lock(void **state)
{
	(void)state;
	child(begin_under_a);
	assert_int_equal(count("misuse: lock-order"), 1);
	assert_int_equal(count("now:    A is held, invalidation is waited for"), 1);
	assert_true(stack_has("now: ", "waits_under_a"));
	assert_true(stack_has("before: ", "calls_back"));
}

static void remove_under_a(void)
{
	open_mm();
	takes = true;
	pair(4096);
	hmmu_debug_lock(&a, "A", false);
	mmu_interval_notifier_remove(&sub);
}

static void test_remove_under_lock(void **state)
{
	(void)state;
	child(remove_under_a);
	assert_int_equal(count("misuse: lock-order"), 1);
	assert_int_equal(count("now:    A is held, callback is waited for"), 1);
	assert_true(stack_has("before: callback -> A", "calls_back"));
}

NOINLINE static void work_takes_a(struct hmmu_work *work)
{
	(void)work;
	hmmu_debug_lock(&a, "A", false);
	hmmu_debug_unlock(&a);
}

static void reclaim_under_a(void)
{
	static struct hmmu_work work;

	open_mm();
	hmmu_defer(mm, &work, work_takes_a);
	if (hmmu_reclaim(mm) != 1)
		_exit(5);
	hmmu_debug_lock(&a, "A", false);
	mmu_notifier_synchronize();
}

static void test_work(void **state)
{
	(void)state;
	child(reclaim_under_a);
	assert_int_equal(count("misuse: lock-order"), 1);
	assert_true(stack_has("before: deferred work -> A", "work_takes_a"));
}

/* ---- from start to end: the thread that is answerable for the end ----------- */

static struct mmu_notifier_range shared;

static void ends(void)
{
	mmu_notifier_invalidate_range_end(&shared);
}

static void between(bool by_another)
{
	open_mm();
	range_of(&shared, 1 << 20);
	mmu_notifier_invalidate_range_start(&shared);
	if (by_another)
		in_thread(ends);
	hmmu_debug_lock(&a, "A", false);
	hmmu_debug_unlock(&a);
	if (!by_another)
		ends();
	waits_under_a();
}

static void lock_between(void)
{
	between(false);
}

static void lock_after_anothers_end(void)
{
	between(true);
}

static void test_between(void **state)
{
	(void)state;
	child(lock_between);
	assert_int_equal(count("misuse: lock-order"), 1);
	assert_true(stack_has("before: invalidation -> A", "between"));
	child(lock_after_anothers_end);
	assert_string_equal(text, "");
}

static void begin_in_own(void)
{
	open_mm();
	range_of(&shared, 4096);
	mmu_notifier_invalidate_range_start(&shared);
	alarm(0);
	signal(SIGALRM, SIG_IGN);
	mmu_interval_read_begin(&sub); /* sleeps for ever: it has been said before */
}

static void begin_in_own_guarded(void)
{
	pid_t pid = fork();
	char line[32];

	if (!pid)
		begin_in_own();
	/* The report is there once it sleeps. */
	snprintf(line, sizeof(line), "/proc/%d/wchan", pid);
	for (int i = 0; i < 2000; i++) {
		char where[64] = "";
		FILE *f = fopen(line, "r");

		if (f && fgets(where, sizeof(where), f) && strstr(where, "futex"))
			i = 2000;
		if (f)
			fclose(f);
		usleep(1000);
	}
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
}

static void test_begin_in_own(void **state)
{
	(void)state;
	child(begin_in_own_guarded);
	assert_int_equal(count("misuse: read-begin-inside-own-invalidation"), 1);
}

/* ---- hmmu's own locks: wrong edges, planted -------------------------------- */

static struct hmmu_instance *inst;
static struct {
	struct hmmu_lock lock;
} uffd, *u = &uffd;

static void inside_leaf(void)
{
	open_mm();
	inst = hmmu_instance();
	hmmu_mm_lock(mm);
	hmmu_lock(&inst->lock);
	hmmu_unlock(&inst->lock);
	hmmu_mm_unlock(mm);
}

static void test_inside_leaf(void **state)
{
	(void)state;
	child(inside_leaf);
	assert_int_equal(count("misuse: lock-inside-a-leaf"), 1);
}

NOINLINE static void arms_in_a_hook(void)
{
	hmmu_lockdep_acquire(HMMU_CLASS_CHANGE, &shared, 0);
	hmmu_lock(&u->lock);
	hmmu_unlock(&u->lock);
	hmmu_lockdep_release(&shared);
}

static void test_net_lock_in_a_hook(void **state)
{
	(void)state;
	child(arms_in_a_hook);
	assert_int_equal(count("misuse: lock-order"), 1);
	assert_int_equal(count("now:    change is held, u->lock is waited for"), 1);
	assert_true(stack_has("now: ", "arms_in_a_hook"));
	assert_int_equal(count("known:  u->lock -> change: "), 1);
}

static void instance_inside_net(void)
{
	inst = hmmu_instance();
	hmmu_lock(&u->lock);
	hmmu_lock(&inst->lock);
}

static void test_tree_turned_round(void **state)
{
	(void)state;
	child(instance_inside_net);
	assert_int_equal(count("misuse: lock-order"), 1);
	assert_int_equal(count("known:  inst->lock -> u->lock"), 1);
}

/* ---- forks, handlers, full tables ------------------------------------------ */

static void in_child(void)
{
	int status;

	in_thread(a_then_b);
	hmmu_debug_lock(&c, "C", false); /* held by the parent alone */
	range_of(&shared, 4096);
	if (!fork()) {
		b_then_a(); /* the first order it sees, and no C -> B */
		b_then_c();
		_exit(0);
	}
	if (wait(&status) < 0 || status)
		_exit(6);
}

static void test_child_starts_anew(void **state)
{
	(void)state;
	child(in_child);
	assert_string_equal(text, "");
}

static void in_child_both(void)
{
	int status;

	a_then_b();
	if (!fork()) {
		both_orders();
		_exit(0);
	}
	if (wait(&status) < 0 || status)
		_exit(6);
}

static void test_child_checks(void **state)
{
	(void)state;
	child(in_child_both);
	assert_int_equal(count("misuse: lock-order"), 1);
	assert_true(stack_has("before: A -> B", "a_then_b"));
}

static void many_classes(void)
{
	char name[32], lock[80];

	for (int round = 0; round < 2; round++) {
		for (int i = 0; i < 80; i++) {
			snprintf(name, sizeof(name), "many %d", i);
			hmmu_debug_lock(&lock[i], name, false);
			hmmu_debug_unlock(&lock[i]);
		}
	}
}

static void many_edges(void)
{
	char name[32], lock[40];

	for (int i = 0; i < 40; i++) {
		for (int k = i + 1; k < 40; k++) {
			snprintf(name, sizeof(name), "many %d", i);
			hmmu_debug_lock(&lock[i], name, false);
			snprintf(name, sizeof(name), "many %d", k);
			hmmu_debug_lock(&lock[k], name, false);
			hmmu_debug_unlock(&lock[k]);
			hmmu_debug_unlock(&lock[i]);
		}
	}
	/* They are still known, without their stacks. */
	hmmu_debug_lock(&lock[39], "many 39", false);
	hmmu_debug_lock(&lock[38], "many 38", false);
}

static void deep(void)
{
	char name[32][32];

	for (int round = 0; round < 2; round++) {
		for (int i = 0; i < 32; i++) {
			snprintf(name[i], sizeof(name[i]), "deep %d", i);
			hmmu_debug_lock(name[i], name[i], true);
		}
		for (int i = 31; i >= 0; i--)
			hmmu_debug_unlock(name[i]);
	}
	both_orders(); /* nothing is left over */
}

static void many_open(void)
{
	static struct mmu_notifier_range range[2000];

	open_mm();
	for (int i = 0; i < 2000; i++) {
		range_of(&range[i], 1 << 20);
		mmu_notifier_invalidate_range_start(&range[i]);
	}
	for (int i = 0; i < 2000; i++)
		mmu_notifier_invalidate_range_end(&range[i]);
	both_orders();
}

static void test_full(void **state)
{
	(void)state;
	child(many_classes);
	assert_int_equal(count("hmmu:"), 1);
	assert_int_equal(count("note: lockdep-too-many-classes"), 1);
	child(many_edges);
	assert_int_equal(count("note: lockdep-too-many-edges"), 1);
	assert_int_equal(count("misuse: lock-order"), 1);
	assert_int_equal(count("many 38 -> many 39: its stack had no room"), 1);
	child(deep);
	assert_int_equal(count("note: lockdep-too-deep"), 1);
	assert_int_equal(count("misuse: lock-order"), 1);
	child(many_open);
	assert_int_equal(count("note: lockdep-too-many-open"), 1);
	assert_int_equal(count("misuse: lock-order"), 1);
}

/* In a handler, on top of what the thread holds. */
static void handler(int sig)
{
	(void)sig;
	hmmu_debug_lock(&b, "B", false);
	hmmu_debug_unlock(&b);
}

static void interrupted(void)
{
	signal(SIGUSR1, handler);
	hmmu_debug_lock(&a, "A", false);
	raise(SIGUSR1);
	hmmu_debug_unlock(&a);
	b_then_a();
}

static void test_handler(void **state)
{
	(void)state;
	child(interrupted);
	assert_int_equal(count("misuse: lock-order"), 1);
	assert_true(stack_has("before: A -> B", "handler"));
	assert_true(stack_has("before: A -> B", "interrupted"));
}

static void aborted(void)
{
	const char *const argv[] = {"test_lockdep", "both", NULL};
	const char *const env[] = {"HMMU_DEBUG_ABORT=1", NULL};
	int status;

	if (!fork()) {
		execve("/proc/self/exe", (char **)argv, (char **)env);
		_exit(1);
	}
	if (wait(&status) < 0 || !WIFSIGNALED(status) || WTERMSIG(status) != SIGABRT)
		_exit(7);
}

static void test_abort(void **state)
{
	(void)state;
	child(aborted);
	assert_int_equal(count("misuse: lock-order"), 1);
}

static void figures(void)
{
	struct hmmu_lockdep_stats s, t;

	hmmu_lockdep_stats(&s);
	a_then_b();
	hmmu_lockdep_stats(&t);
	if (t.classes != s.classes + 2 || t.edges != s.edges + 1 || t.deepest != 2 ||
	    s.edges != s.rules || !s.rules)
		_exit(8);
}

static void test_figures(void **state)
{
	(void)state;
	child(figures);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_both_orders),
		cmocka_unit_test(test_one_order),
		cmocka_unit_test(test_crossed),
		cmocka_unit_test(test_try),
		cmocka_unit_test(test_three),
		cmocka_unit_test(test_twice),
		cmocka_unit_test(test_start_under_driver_lock),
		cmocka_unit_test(test_free_under_driver_lock),
		cmocka_unit_test(test_two_drivers),
		cmocka_unit_test(test_nonblock_under_driver_lock),
		cmocka_unit_test(test_begin_under_lock),
		cmocka_unit_test(test_remove_under_lock),
		cmocka_unit_test(test_work),
		cmocka_unit_test(test_between),
		cmocka_unit_test(test_begin_in_own),
		cmocka_unit_test(test_inside_leaf),
		cmocka_unit_test(test_net_lock_in_a_hook),
		cmocka_unit_test(test_tree_turned_round),
		cmocka_unit_test(test_child_starts_anew),
		cmocka_unit_test(test_child_checks),
		cmocka_unit_test(test_full),
		cmocka_unit_test(test_handler),
		cmocka_unit_test(test_abort),
		cmocka_unit_test(test_figures),
	};

	if (argc > 1 && !strcmp(argv[1], "both")) {
		both_orders();
		return 0;
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}
