// SPDX-License-Identifier: MIT
/* net.c - see net.h. */
#include "net.h"

#include "report.h"

#include <dirent.h>
#include <sys/syscall.h>

void net_fail(const char *file, int line, const char *what)
{
	fprintf(stderr, "%s:%d: not true: %s\n", file, line, what);
	_exit(97);
}

static bool planted(void)
{
#ifdef HMMU_PLANT
	return hmmu_uffd_planted != UFFD_PLANT_NONE;
#else
	return false;
#endif
}

void net_isolated(void (*body)(void), unsigned int seconds)
{
	const char *less = getenv("HMMU_NET_SECONDS");
	int status = -1;
	pid_t pid;

	if (less)
		seconds = (unsigned int)atoi(less);
	fflush(NULL);
	pid = fork();
	if (pid == 0) {
		signal(SIGALRM, SIG_DFL);
		alarm(planted() ? 5 : seconds * (NET_SLOW > 1 ? 4 : 1));
		body();
		_exit(0);
	}
	assert_true(pid > 0);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	if (WIFSIGNALED(status) && WTERMSIG(status) == SIGALRM)
		print_message("it hung\n");
	assert_int_equal(status, 0);
}

#ifdef HMMU_DEBUG
static void reported(const char *name, const void *subject)
{
	(void)subject;
	net_fail("report", 0, name);
}
#endif

void net_init(int argc, char **argv)
{
	const char *number = getenv("HMMU_UFFD_PLANT");

	setvbuf(stdout, NULL, _IONBF, 0);
#ifdef HMMU_PLANT
	if (number)
		hmmu_uffd_planted = (enum hmmu_uffd_plant)atoi(number);
#else
	(void)number;
#endif
#ifdef HMMU_DEBUG
	hmmu_report_hook = reported;
#endif
	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
}

/* ---- raw calls --------------------------------------------------------- */

char *raw_mmap(void *addr, size_t len, int prot, int flags, int fd, long offset)
{
	long ret = hmmu_syscall(SYS_mmap, addr, len, prot, flags, fd, offset);

	must(!hmmu_is_err(ret));
	return (char *)ret;
}

char *raw_map(size_t pages)
{
	char *p = raw_mmap(NULL, pages * PAGE, RW, ANON, -1, 0);

	for (size_t i = 0; i < pages; i++)
		p[i * PAGE] = 'a';
	return p;
}

int raw_munmap(void *p, size_t len)
{
	return (int)hmmu_syscall(SYS_munmap, p, len);
}

int raw_madvise(void *p, size_t len, int advice)
{
	return (int)hmmu_syscall(SYS_madvise, p, len, advice);
}

char *raw_mremap(void *p, size_t old_len, size_t new_len, int flags, void *to)
{
	return (char *)hmmu_syscall(SYS_mremap, p, old_len, new_len, flags, to);
}

pid_t raw_fork(void)
{
	return (pid_t)hmmu_syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0);
}

/* ---- a subscription that counts ---------------------------------------- */

static bool watch_invalidate(struct mmu_interval_notifier *sub,
			     const struct mmu_notifier_range *range, unsigned long cur_seq)
{
	struct watch *w = (struct watch *)sub;

	if (w->hook)
		w->hook(w, range);
	if (!w->no_lock)
		pthread_mutex_lock(&w->lock);
	mmu_interval_set_seq(sub, cur_seq);
	w->seen_start = range->start;
	w->seen_end = range->end;
	w->phase = range->phase;
	if (!w->no_lock)
		pthread_mutex_unlock(&w->lock);
	if (range->phase == HMMU_PHASE_LOST)
		hmmu_add_seqcst(&w->lost, 1);
	hmmu_add_seqcst(&w->calls, 1);
	return true;
}

static const struct mmu_interval_notifier_ops watch_ops = {.invalidate = watch_invalidate};

struct mm_struct *net_open_flags(unsigned int sources, unsigned int flags)
{
	const struct hmmu_mm_options options = {
		.size = sizeof(options),
		.sources = sources,
		.flags = flags,
	};
	struct mm_struct *mm = NULL;

	must(hmmu_mm_open(&mm, &options) == 0);
	return mm;
}

struct mm_struct *net_open(unsigned int sources)
{
	return net_open_flags(sources, 0);
}

void net_close(struct mm_struct *mm)
{
	must(hmmu_mm_close(mm) == 0);
}

void watch_add(struct watch *w, struct mm_struct *mm, const void *p, size_t len)
{
	memset(w, 0, sizeof(*w));
	pthread_mutex_init(&w->lock, NULL);
	must(mmu_interval_notifier_insert(&w->sub, mm, (unsigned long)p, len, &watch_ops) == 0);
}

void watch_remove(struct watch *w)
{
	mmu_interval_notifier_remove(&w->sub);
}

unsigned long watch_begin(struct watch *w)
{
	unsigned long seq = 0;

	must(hmmu_read_begin(&w->sub, &seq, NULL) == 0);
	return seq;
}

int watch_poll(struct watch *w)
{
	static const struct timespec now = {0, 0};
	unsigned long seq;

	return hmmu_read_begin(&w->sub, &seq, &now);
}

bool watch_retry(struct watch *w, unsigned long seq)
{
	bool retry;

	pthread_mutex_lock(&w->lock);
	retry = mmu_interval_read_retry(&w->sub, seq);
	pthread_mutex_unlock(&w->lock);
	return retry;
}

bool watch_ok(struct watch *w, unsigned long seq)
{
	return hmmu_access_ok(&w->sub, seq);
}

uint32_t watch_calls(struct watch *w)
{
	return hmmu_load_seqcst(&w->calls);
}

uint64_t net_marked(void)
{
	return hmmu_load_seqcst(&hmmu_uffd->marked);
}

static bool removal_open(void)
{
	for (unsigned int i = 0; i < UFFD_REMOVALS; i++)
		if (hmmu_load_seqcst(&hmmu_uffd->removals[i].state) != REMOVAL_FREE)
			return true;
	return false;
}

void net_quiet(void)
{
	uint64_t upto = net_marked();

	while (hmmu_load_seqcst(&hmmu_uffd->dispatched) < upto || removal_open())
		usleep(50);
}

/* ---- gates ------------------------------------------------------------- */

#ifdef HMMU_PLANT

static struct stop {
	uint32_t on;
	uint64_t start;
	sem_t reached, go;
} stops[UFFD_GATES];

static void stop_at(enum hmmu_uffd_gate gate, uint64_t start, uint64_t end)
{
	struct stop *s = &stops[gate];
	uint32_t on = 1;

	(void)end;
	if (!hmmu_load_seqcst(&s->on) || (s->start && s->start != start) ||
	    !hmmu_cas_seqcst(&s->on, &on, 0))
		return;
	sem_post(&s->reached);
	while (sem_wait(&s->go))
		;
}

void net_hold(enum hmmu_uffd_gate gate, const void *start)
{
	struct stop *s = &stops[gate];

	must(!hmmu_load_seqcst(&s->on));
	sem_init(&s->reached, 0, 0);
	sem_init(&s->go, 0, 0);
	s->start = (uint64_t)(uintptr_t)start;
	hmmu_store_seqcst(&s->on, 1);
	hmmu_uffd_gate = stop_at;
}

void net_reached(enum hmmu_uffd_gate gate)
{
	while (sem_wait(&stops[gate].reached))
		;
}

void net_release(enum hmmu_uffd_gate gate)
{
	sem_post(&stops[gate].go);
}
#endif

/* ---- threads ----------------------------------------------------------- */

static void *runner_main(void *arg)
{
	struct runner *r = arg;

	hmmu_store_seqcst(&r->tid, (int)syscall(SYS_gettid));
	r->fn(r->arg);
	hmmu_store_seqcst(&r->done, 1);
	return NULL;
}

void runner_start(struct runner *r, void (*fn)(void *arg), void *arg)
{
	r->fn = fn;
	r->arg = arg;
	r->tid = 0;
	r->done = 0;
	must(pthread_create(&r->thread, NULL, runner_main, r) == 0);
}

static char state_of(int tid)
{
	char path[64], text[512];
	const char *paren;
	FILE *file;
	size_t n;

	snprintf(path, sizeof(path), "/proc/self/task/%d/stat", tid);
	file = fopen(path, "r");
	if (!file)
		return 0;
	n = fread(text, 1, sizeof(text) - 1, file);
	fclose(file);
	text[n] = 0;
	paren = strrchr(text, ')');
	return paren && paren[1] == ' ' ? paren[2] : 0;
}

bool runner_done(struct runner *r)
{
	return hmmu_load_seqcst(&r->done);
}

bool runner_blocked(struct runner *r)
{
	int asleep = 0;

	while (asleep < 5) {
		int tid = hmmu_load_seqcst(&r->tid);
		char state = tid ? state_of(tid) : 0;

		if (runner_done(r))
			return false;
		asleep = state == 'S' || state == 'D' ? asleep + 1 : 0;
		usleep(300);
	}
	return !runner_done(r);
}

bool runner_pending(struct runner *r)
{
	for (int i = 0; i < 30 && !runner_done(r); i++)
		usleep(300);
	return !runner_done(r);
}

void runner_join(struct runner *r)
{
	must(pthread_join(r->thread, NULL) == 0);
}

void change_run(void *arg)
{
	struct change *c = arg;

	switch (c->what) {
	case DO_MUNMAP:
		c->ret = raw_munmap(c->p, c->len);
		break;
	case DO_MADVISE:
		c->ret = raw_madvise(c->p, c->len, c->advice);
		break;
	case DO_FIXED:
		c->result = raw_mmap(c->p, c->len, RW, ANON | MAP_FIXED, -1, 0);
		break;
	case DO_MREMAP:
		c->result = raw_mremap(c->p, c->len, c->len,
				       MREMAP_MAYMOVE | (c->to ? MREMAP_FIXED : 0), c->to);
		break;
	case DO_LIBC_MMAP:
		c->result = mmap(c->p, c->len, RW, ANON, -1, 0);
		break;
	}
}

unsigned int net_count(const char *dir)
{
	char path[64];
	unsigned int n = 0;
	DIR *d;

	snprintf(path, sizeof(path), "/proc/self/%s", dir);
	d = opendir(path);
	must(d != NULL);
	while (readdir(d))
		n++;
	closedir(d);
	return n;
}
