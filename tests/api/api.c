// SPDX-License-Identifier: MIT
/* api.c - gates, threads that are seen to sleep, subscriptions that count. */
#include "api.h"

#include <sys/syscall.h>

void api_fail(const char *file, int line, const char *what)
{
	fprintf(stderr, "%s:%d: not true: %s\n", file, line, what);
	abort();
}

static void hung(int sig)
{
	static const char text[] = "hung: the guard's time is over\n";

	if (write(STDERR_FILENO, text, sizeof(text) - 1) < 0)
		_exit(98);
	_exit(99);
}

void api_guard(unsigned int seconds)
{
	signal(SIGALRM, hung);
	alarm(seconds);
}

void gate_init(struct gate *gate)
{
	must(sem_init(&gate->sem, 0, 0) == 0);
}

void gate_open(struct gate *gate)
{
	must(sem_post(&gate->sem) == 0);
}

void gate_pass(struct gate *gate)
{
	while (sem_wait(&gate->sem))
		must(errno == EINTR);
	must(sem_post(&gate->sem) == 0);
}

static void *runner_main(void *arg)
{
	struct runner *runner = arg;

	atomic_store(&runner->tid, (int)syscall(SYS_gettid));
	runner->fn(runner->arg);
	atomic_store(&runner->done, true);
	return NULL;
}

void runner_start(struct runner *runner, void (*fn)(void *arg), void *arg)
{
	runner->fn = fn;
	runner->arg = arg;
	atomic_init(&runner->tid, 0);
	atomic_init(&runner->done, false);
	must(pthread_create(&runner->thread, NULL, runner_main, runner) == 0);
}

static char thread_state(int tid)
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

/* Asleep in several looks in a row: not only for a moment inside a page fault. */
bool runner_sleeps(struct runner *runner)
{
	int asleep = 0, tid;

	while (asleep < 5) {
		if (atomic_load(&runner->done))
			return false;
		tid = atomic_load(&runner->tid);
		asleep = tid && thread_state(tid) == 'S' ? asleep + 1 : 0;
		usleep(300);
	}
	return !atomic_load(&runner->done);
}

void runner_join(struct runner *runner)
{
	must(pthread_join(runner->thread, NULL) == 0);
}

static bool probe_invalidate(struct mmu_interval_notifier *sub,
			     const struct mmu_notifier_range *range, unsigned long cur_seq)
{
	struct probe *probe = (struct probe *)sub;

	atomic_fetch_add(&probe->running, 1);
	atomic_fetch_add(&probe->calls, 1);
	if (probe->hook)
		probe->hook(probe, range);
	if (probe->refuse && !mmu_notifier_range_blockable(range)) {
		atomic_fetch_sub(&probe->running, 1);
		return false;
	}
	pthread_mutex_lock(&probe->lock);
	mmu_interval_set_seq(sub, cur_seq);
	probe->shadow = 0;
	probe->seen_start = range->start;
	probe->seen_end = range->end;
	pthread_mutex_unlock(&probe->lock);
	atomic_fetch_sub(&probe->running, 1);
	return true;
}

const struct mmu_interval_notifier_ops probe_ops = {.invalidate = probe_invalidate};

struct mm_struct *open_mm(unsigned int flags)
{
	const struct hmmu_mm_options options = {
		.size = sizeof(options),
		.sources = HMMU_SOURCE_EXPLICIT,
		.flags = flags,
	};
	struct mm_struct *mm = NULL;

	must(quiet(hmmu_mm_open(&mm, &options)) == 0);
	must(mm != NULL);
	return mm;
}

void close_mm(struct mm_struct *mm)
{
	must(quiet(hmmu_mm_close(mm)) == 0);
}

void probe_init(struct probe *probe)
{
	memset(probe, 0, sizeof(*probe));
	pthread_mutex_init(&probe->lock, NULL);
}

void probe_insert(struct probe *probe, struct mm_struct *mm, unsigned long start,
		  unsigned long length)
{
	must(quiet(mmu_interval_notifier_insert(&probe->sub, mm, start, length, &probe_ops)) ==
	     0);
}

void probe_add(struct probe *probe, struct mm_struct *mm, unsigned long start,
	       unsigned long length)
{
	probe_init(probe);
	probe_insert(probe, mm, start, length);
}

void probe_remove(struct probe *probe)
{
	quiet_void(mmu_interval_notifier_remove(&probe->sub));
}

int poll_begin(struct mmu_interval_notifier *sub, unsigned long *seq)
{
	static const struct timespec now = {0, 0};

	return quiet(hmmu_read_begin(sub, seq, &now));
}

int probe_poll(struct probe *probe)
{
	unsigned long seq;
	int ret = poll_begin(&probe->sub, &seq);

	/* A sequence that was just begun is good, one that was refused never is. */
	must(mmu_interval_read_retry(&probe->sub, seq) == (ret != 0));
	must(hmmu_access_ok(&probe->sub, seq) == (ret == 0));
	return ret;
}

void range_open(struct mmu_notifier_range *range, struct mm_struct *mm, unsigned long start,
		unsigned long end)
{
	mmu_notifier_range_init(range, MMU_NOTIFY_CLEAR, 0, mm, start, end);
	must(quiet(mmu_notifier_invalidate_range_start(range)) == 0);
}

void range_close(struct mmu_notifier_range *range)
{
	quiet_void(mmu_notifier_invalidate_range_end(range));
}

void invalidate(struct mm_struct *mm, unsigned long start, unsigned long end)
{
	struct mmu_notifier_range range;

	range_open(&range, mm, start, end);
	range_close(&range);
}

void sleeper_read(void *arg)
{
	struct sleeper *sleeper = arg;

	sleeper->seq = mmu_interval_read_begin(&sleeper->probe->sub);
	must(atomic_load(&sleeper->ended));
}

void held_init(struct held *held, struct mm_struct *mm, unsigned long start, unsigned long end)
{
	memset(held, 0, sizeof(*held));
	held->mm = mm;
	held->start = start;
	held->end = end;
	gate_init(&held->inside);
	gate_init(&held->go);
}

void held_start(void *arg)
{
	struct held *held = arg;

	range_open(&held->range, held->mm, held->start, held->end);
}

void held_callback(struct probe *probe, const struct mmu_notifier_range *range)
{
	struct held *held = probe->arg;

	if (!held)
		return;
	gate_open(&held->inside);
	gate_pass(&held->go);
}
