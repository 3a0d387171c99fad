// SPDX-License-Identifier: MIT
/*
 * docs/contexts.md, cell by cell, in the debug build: what is marked "no" and can be seen is
 * reported by name, what is marked "yes" is not. Each cell is a child of its own; some of
 * the forbidden calls never come back, so it is killed when it has said what it should.
 */
#include "api.h"

#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include <hmmu/hmm.h>
#include <hmmu/regcache.h>

/* ThreadSanitizer makes it one. */
#if defined(__SANITIZE_THREAD__) || __has_feature(thread_sanitizer)
#define VFORK_IS_FORK true
#else
#define VFORK_IS_FORK false
#endif

static struct mm_struct *mm, *other_mm;
static struct mmu_interval_notifier sub, spare, inserted;
static struct mmu_notifier whole, got_whole;
static struct mmu_notifier *got;
static struct mmu_notifier_range range;
static unsigned long seq;
/* Volatile: libc says that munmap() calls nothing of this file. */
static void (*volatile in_callback)(void);

static bool invalidate_cb(struct mmu_interval_notifier *s, const struct mmu_notifier_range *r,
			  unsigned long cur_seq)
{
	void (*call)(void) = in_callback;

	(void)r;
	mmu_interval_set_seq(s, cur_seq);
	in_callback = NULL;
	if (call)
		call();
	return true;
}

static const struct mmu_interval_notifier_ops sub_ops = {.invalidate = invalidate_cb};

static int whole_start(struct mmu_notifier *s, const struct mmu_notifier_range *r)
{
	(void)s;
	(void)r;
	return 0;
}

static struct mmu_notifier *alloc_whole(struct mm_struct *m)
{
	(void)m;
	return &got_whole;
}

static void free_whole(struct mmu_notifier *s)
{
	(void)s;
}

static const struct mmu_notifier_ops whole_ops = {
	.invalidate_range_start = whole_start,
	.alloc_notifier = alloc_whole,
	.free_notifier = free_whole,
};

/* ---- the rows: calls -------------------------------------------------------- */

static const struct timespec now = {0, 0}, soon = {0, 1};

static void do_open(void)
{
	const struct hmmu_mm_options o = {.size = sizeof(o), .flags = HMMU_MM_OWN_RECLAIM};
	struct mm_struct *m;

	must(hmmu_mm_open(&m, &o) == 0);
}

static void do_close(void)
{
	hmmu_mm_close(other_mm);
}

static void do_insert(void)
{
	must(mmu_interval_notifier_insert(&inserted, mm, 64 * PAGE, PAGE, &sub_ops) == 0);
}

static void do_remove(void)
{
	mmu_interval_notifier_remove(&spare);
}

static void do_begin(void)
{
	mmu_interval_read_begin(&spare);
}

/* Where something is open: where it has to sleep. */
static void do_begin_soon(void)
{
	must(hmmu_read_begin(&sub, &seq, &soon) == -ETIMEDOUT);
}

static void do_begin_now(void)
{
	must(hmmu_read_begin(&spare, &seq, &now) == 0);
}

/* Of a page that is not mapped. */
static void do_range_fault(void)
{
	unsigned long pfn;
	struct hmm_range fault = {
		.notifier = &spare,
		.notifier_seq = seq,
		.start = 8 * PAGE,
		.end = 9 * PAGE,
		.hmm_pfns = &pfn,
	};

	must(hmm_range_fault(&fault) == 0 && pfn == HMM_PFN_ERROR);
}

static void do_retry(void)
{
	mmu_interval_read_retry(&spare, seq);
}

static void do_check(void)
{
	must(!mmu_interval_check_retry(&spare, seq));
	must(hmmu_access_ok(&spare, seq));
}

static void start_of(unsigned long start, bool blockable)
{
	struct mmu_notifier_range r;

	mmu_notifier_range_init(&r, MMU_NOTIFY_CLEAR, 0, mm, start, start + PAGE);
	must((blockable ? mmu_notifier_invalidate_range_start(&r)
			: mmu_notifier_invalidate_range_start_nonblock(&r)) == 0);
	mmu_notifier_invalidate_range_end(&r);
}

/* Nobody watches it. */
static void do_start(void)
{
	start_of(1000 * PAGE, true);
}

static void do_nonblock(void)
{
	start_of(1000 * PAGE, false);
}

static void do_register(void)
{
	static struct mmu_notifier w = {.ops = &whole_ops};

	mmu_notifier_register(&w, mm);
}

static void do_get(void)
{
	struct mmu_notifier *w;

	mmu_notifier_get(&whole_ops, mm, &w);
}

static void do_unregister(void)
{
	mmu_notifier_unregister(&whole, mm);
}

static void do_put(void)
{
	mmu_notifier_put(got);
}

static void never(struct hmmu_work *work)
{
	(void)work;
}

static void do_defer(void)
{
	static struct hmmu_work work;

	hmmu_defer(mm, &work, never);
}

static void do_reclaim(void)
{
	hmmu_reclaim(mm);
}

static void do_synchronize(void)
{
	mmu_notifier_synchronize();
}

/* Whose memory is two pages of this program. */
static struct hmmu_regcache *cache;
static struct hmmu_region_ref held;
static char cached[3 * PAGE] __attribute__((aligned(4096)));

static int cache_reg(void *context, struct hmmu_region *region)
{
	(void)context;
	region->key[0] = 1;
	return 0;
}

static int cache_dereg(void *context, struct hmmu_region *region)
{
	(void)context;
	(void)region;
	return 0;
}

static void setup_cache(void)
{
	static const struct hmmu_regcache_ops ops = {.reg = cache_reg, .dereg = cache_dereg};
	struct hmmu_regcache_options o = HMMU_REGCACHE_DEFAULTS;

	o.mm = mm;
	must(hmmu_regcache_create(&cache, &ops, NULL, &o) == 0);
	must(hmmu_regcache_get(cache, cached, PAGE, PROT_READ, &held) == 0);
}

/* A miss. */
static void do_cache_get(void)
{
	struct hmmu_region_ref ref;

	must(hmmu_regcache_get(cache, cached + 2 * PAGE, PAGE, PROT_READ, &ref) == 0);
	hmmu_regcache_put(cache, &ref);
}

static void do_cache_get_now(void)
{
	struct hmmu_region_ref ref;

	must(hmmu_regcache_get_nonblock(cache, cached, PAGE, PROT_READ, &ref) == 0);
	hmmu_regcache_put(cache, &ref);
}

static void do_cache_put(void)
{
	must(hmmu_regcache_valid(cache, &held));
	hmmu_regcache_put(cache, &held);
}

static void do_cache_destroy(void)
{
	hmmu_regcache_put(cache, &held);
	hmmu_regcache_destroy(cache);
}

/* ---- the columns: contexts --------------------------------------------------- */

static void here(void (*call)(void))
{
	call();
}

static void callback(void (*call)(void))
{
	in_callback = call;
	start_of(PAGE, true);
	must(!in_callback);
}

static void nonblock_callback(void (*call)(void))
{
	in_callback = call;
	start_of(PAGE, false);
	must(!in_callback);
}

static void driver_lock(void (*call)(void))
{
	hmmu_driver_lock_acquired(&sub);
	call();
	hmmu_driver_lock_released(&sub);
}

static void (*in_handler)(void);

static void handler(int sig)
{
	(void)sig;
	in_handler();
}

static void signal_handler(void (*call)(void))
{
	in_handler = call;
	signal(SIGUSR1, handler);
	raise(SIGUSR1);
}

static void vfork_child(void (*call)(void))
{
	pid_t pid = vfork();

	if (!pid) {
		call();
		_exit(0);
	}
	must(pid > 0 && waitpid(pid, NULL, 0) == pid);
}

/* Somebody else has an invalidation of @sub open. */
static void *leaves_open(void *arg)
{
	(void)arg;
	mmu_notifier_range_init(&range, MMU_NOTIFY_CLEAR, 0, mm, PAGE, 2 * PAGE);
	must(mmu_notifier_invalidate_range_start(&range) == 0);
	return NULL;
}

static void open_elsewhere(void)
{
	pthread_t t;

	must(pthread_create(&t, NULL, leaves_open, NULL) == 0);
	must(pthread_join(t, NULL) == 0);
}

static void signal_handler_open(void (*call)(void))
{
	open_elsewhere();
	signal_handler(call);
}

static void vfork_child_open(void (*call)(void))
{
	open_elsewhere();
	vfork_child(call);
}

static void open_here(void (*call)(void))
{
	leaves_open(NULL);
	call();
}

/* ---- hooks -------------------------------------------------------------------- */

static char *page;

static void setup_hooks(void)
{
	const struct hmmu_mm_options o = {
		.size = sizeof(o), .sources = HMMU_SOURCE_HOOKS, .flags = HMMU_MM_OWN_RECLAIM};
	static struct mmu_interval_notifier hooked;

	must(hmmu_mm_open(&other_mm, &o) == 0);
	page = mmap(NULL, 4 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	must(page != MAP_FAILED);
	must(mmu_interval_notifier_insert(&hooked, other_mm, (unsigned long)page, PAGE,
					  &sub_ops) == 0);
}

/* Whatever malloc() a sanitizer has. */
extern void *__libc_malloc(size_t size);
extern void __libc_free(void *p);

/* The block is mapped and unmapped by libc itself. */
static void do_allocate(void)
{
	void *volatile p = __libc_malloc(8 << 20);

	__libc_free(p);
}

static void do_unmap(void)
{
	must(munmap(page + 2 * PAGE, PAGE) == 0);
}

static void hooked_callback(void (*call)(void))
{
	setup_hooks();
	in_callback = call;
	must(munmap(page, PAGE) == 0);
	must(!in_callback);
}

static void hooked_lock(void (*call)(void))
{
	setup_hooks();
	driver_lock(call);
}

static void hooked_vfork_callback(void (*call)(void))
{
	setup_hooks();
	if (!vfork()) {
		in_callback = call;
		munmap(page, PAGE);
		_exit(0);
	}
}

static void hooked_nonblock(void (*call)(void))
{
	setup_hooks();
	nonblock_callback(call);
}

static void hooked(void (*call)(void))
{
	setup_hooks();
	call();
}

/* ---- the cells ------------------------------------------------------------------ */

struct cell {
	void (*where)(void (*call)(void));
	void (*call)(void);
	const char *report; /* NULL: allowed */
};

#define NO4(call, name)                                                                        \
	{callback, call, name "-in-callback"}, {driver_lock, call, name "-under-driver-lock"}, \
		{signal_handler, call, name "-in-signal-handler"},                             \
		{vfork_child, call, name "-in-vfork-child"},                                   \
	{                                                                                      \
		here, call, NULL                                                               \
	}

static const struct cell cells[] = {
	/* Who may call what. */
	NO4(do_open, "open"),
	NO4(do_close, "close"),
	{here, do_insert, NULL},
	{callback, do_insert, NULL},
	{driver_lock, do_insert, NULL},
	{signal_handler, do_insert, "insert-in-signal-handler"},
	{vfork_child, do_insert, "insert-in-vfork-child"},
	NO4(do_remove, "remove"),
	{here, do_begin, NULL},
	{callback, do_begin, "read-begin-in-callback"},
	{driver_lock, do_begin, "read-begin-under-driver-lock"},
	{driver_lock, do_begin_now, NULL},
	{signal_handler, do_begin_now, NULL},
	{signal_handler_open, do_begin_soon, "read-begin-in-signal-handler"},
	{vfork_child_open, do_begin_soon, "read-begin-in-vfork-child"},
	NO4(do_range_fault, "hmm-range-fault"),
	{here, do_retry, NULL},
	{driver_lock, do_retry, NULL},
	{callback, do_retry, "read-retry-in-callback"},
	{here, do_check, NULL},
	{callback, do_check, NULL},
	{driver_lock, do_check, NULL},
	{signal_handler, do_check, NULL},
	{vfork_child, do_check, NULL},
	{here, do_start, NULL},
	{callback, do_start, NULL},
	{driver_lock, do_start, "lock-order"},
	{signal_handler, do_start, NULL},
	{vfork_child, do_start, NULL},
	{callback, do_nonblock, NULL},
	{driver_lock, do_nonblock, NULL},
	{signal_handler, do_nonblock, NULL},
	{vfork_child, do_nonblock, NULL},
	NO4(do_register, "register"),
	NO4(do_get, "register"),
	{open_here, do_register, "register-inside-own-invalidation"},
	NO4(do_unregister, "remove"),
	NO4(do_put, "put"),
	{here, do_defer, NULL},
	{callback, do_defer, NULL},
	{driver_lock, do_defer, NULL},
	{signal_handler, do_defer, NULL},
	{vfork_child, do_defer, NULL},
	NO4(do_reclaim, "reclaim"),
	NO4(do_synchronize, "synchronize"),
	{here, do_cache_get, NULL},
	{callback, do_cache_get, "regcache-get-in-callback"},
	{driver_lock, do_cache_get, "read-begin-under-driver-lock"},
	{signal_handler, do_cache_get, "regcache-get-in-signal-handler"},
	{vfork_child, do_cache_get, "regcache-get-in-vfork-child"},
	{here, do_cache_get_now, NULL},
	{driver_lock, do_cache_get_now, NULL},
	{here, do_cache_put, NULL},
	{callback, do_cache_put, NULL},
	{driver_lock, do_cache_put, NULL},
	{signal_handler, do_cache_put, NULL},
	{vfork_child, do_cache_put, NULL},
	NO4(do_cache_destroy, "regcache-destroy"),

	/* Where callbacks run. */
	{hooked, do_allocate, NULL},
	{hooked_callback, do_allocate, "allocation-in-callback"},
	{hooked_callback, do_unmap, NULL},
	{hooked_callback, do_start, NULL},
	{hooked_callback, do_open, "open-in-callback"},
	{hooked_lock, do_unmap, "lock-order"},
	{hooked_lock, do_allocate, "lock-order"},
	{hooked_vfork_callback, do_unmap, "change-in-vfork-callback"},
	{nonblock_callback, do_nonblock, NULL},
	{nonblock_callback, do_start, "start-may-sleep-in-callback-that-may-not"},
	{hooked_nonblock, do_unmap, "start-may-sleep-in-callback-that-may-not"},
	{hooked_nonblock, do_allocate, "start-may-sleep-in-callback-that-may-not"},
};

static void run_cell(const struct cell *cell)
{
	api_guard(10);
	mm = open_mm(HMMU_MM_OWN_RECLAIM);
	other_mm = open_mm(HMMU_MM_OWN_RECLAIM);
	must(mmu_interval_notifier_insert(&sub, mm, PAGE, PAGE, &sub_ops) == 0);
	must(mmu_interval_notifier_insert(&spare, mm, 8 * PAGE, PAGE, &sub_ops) == 0);
	whole.ops = &whole_ops;
	if (cell->call == do_cache_get || cell->call == do_cache_get_now ||
	    cell->call == do_cache_put || cell->call == do_cache_destroy)
		setup_cache();
	if (cell->call == do_unregister)
		must(mmu_notifier_register(&whole, mm) == 0);
	if (cell->call == do_put)
		must(mmu_notifier_get(&whole_ops, mm, &got) == 0);
	seq = mmu_interval_read_begin(&spare);
	cell->where(cell->call);
}

/* Until it has said @wanted, or all that it says. */
static void hear(int fd, const char *wanted, char *text, size_t size)
{
	size_t n_read = 0;
	ssize_t n;

	while ((n = read(fd, text + n_read, size - 1 - n_read)) > 0) {
		n_read += (size_t)n;
		text[n_read] = '\0';
		if (wanted && strstr(text, wanted))
			return;
	}
	text[n_read] = '\0';
}

static void test_cell(void **state)
{
	const struct cell *cell = *state;
	char wanted[100] = "", text[16384], *first;
	int fds[2], status;
	pid_t pid;

	if (VFORK_IS_FORK && (cell->where == vfork_child || cell->where == vfork_child_open ||
			      cell->where == hooked_vfork_callback))
		skip();
	assert_int_equal(pipe(fds), 0);
	fflush(NULL);
	pid = fork();
	assert_true(pid >= 0);
	if (!pid) {
		dup2(fds[1], 2);
		run_cell(cell);
		_exit(0);
	}
	close(fds[1]);
	if (cell->report)
		snprintf(wanted, sizeof(wanted), "hmmu: misuse: %s 0x", cell->report);
	hear(fds[0], cell->report ? wanted : NULL, text, sizeof(text));
	if (cell->report)
		kill(pid, SIGKILL);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	close(fds[0]);
	if (!cell->report) {
		assert_string_equal(text, "");
		assert_int_equal(status, 0);
		return;
	}
	first = strstr(text, "hmmu:");
	if (!first || strncmp(first, wanted, strlen(wanted)))
		print_error("wanted %s, got: %s\n", wanted, text);
	assert_ptr_equal(first, strstr(text, wanted));
	assert_non_null(first);
}

#define CELLS (sizeof(cells) / sizeof(cells[0]))

int main(void)
{
	static struct CMUnitTest tests[CELLS];
	static char names[CELLS][80];

	for (size_t i = 0; i < CELLS; i++) {
		snprintf(names[i], sizeof(names[i]), "%zu %s", i,
			 cells[i].report ? cells[i].report : "allowed");
		tests[i] =
			(struct CMUnitTest){names[i], test_cell, NULL, NULL, (void *)&cells[i]};
	}
	return _cmocka_run_group_tests("contexts", tests, CELLS, NULL, NULL);
}
