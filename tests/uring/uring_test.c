// SPDX-License-Identifier: MIT
/* uring_test.c - see uring_test.h. */
#include "uring_test.h"

static const struct timespec patient = {INT32_MAX, 0};

int uring_refused(void)
{
	struct io_uring ring;
	int ret = io_uring_queue_init(2, &ring, 0);

	if (!ret) {
		io_uring_queue_exit(&ring);
		return 0;
	}
	fprintf(stderr, "skipped: %s (%s)\n", uring_mirror_why(ret), strerror(-ret));
	return ret;
}

struct mm_struct *test_mm(void)
{
	struct hmmu_mm_options options = {.size = sizeof(options)};
	struct mm_struct *mm;

	assert_int_equal(hmmu_mm_open(&mm, &options), 0);
	return mm;
}

static void fill_pages(unsigned char *at, unsigned int pages, int fill)
{
	for (unsigned int i = 0; i < pages; i++)
		memset(at + i * PAGE, fill + (int)i, PAGE);
}

unsigned char *test_pages(unsigned int pages, int fill)
{
	unsigned char *at = mmap(NULL, pages * PAGE, PROT_READ | PROT_WRITE,
				 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	assert_ptr_not_equal(at, MAP_FAILED);
	madvise(at, pages * PAGE, MADV_NOHUGEPAGE);
	fill_pages(at, pages, fill);
	return at;
}

void test_remap(struct mm_struct *mm, unsigned char *at, unsigned int pages, int fill)
{
	struct mmu_notifier_range range;

	mmu_notifier_range_init(&range, MMU_NOTIFY_UNMAP, 0, mm, (unsigned long)at,
				(unsigned long)at + pages * PAGE);
	assert_int_equal(mmu_notifier_invalidate_range_start(&range), 0);
	/* Over it in one call: nobody else's mapping can land in between. */
	assert_ptr_equal(mmap(at, pages * PAGE, PROT_READ | PROT_WRITE,
			      MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0),
			 at);
	fill_pages(at, pages, fill);
	mmu_notifier_invalidate_range_end(&range);
}

int test_read(struct uring_mirror *m, struct uring_window *w, const void *addr)
{
	struct uring_access a = {.window = w, .addr = (unsigned long)addr, .len = 1};

	memset(uring_mirror_buffer(m, 0), 0xee, 1);
	if (uring_mirror_run(m, &a, 1, &patient))
		return -EPROTO;
	return a.result == 1 ? *(unsigned char *)uring_mirror_buffer(m, 0) : a.result;
}

int test_write(struct uring_mirror *m, struct uring_window *w, void *addr, int value)
{
	struct uring_access a = {
		.window = w, .addr = (unsigned long)addr, .len = 1, .flags = URING_WRITE};

	memset(uring_mirror_buffer(m, 0), value, 1);
	if (uring_mirror_run(m, &a, 1, &patient))
		return -EPROTO;
	return a.result;
}

struct uring_mirror *test_mirror(struct mm_struct *mm, const struct uring_coherence *coherence,
				 unsigned int slots, unsigned int depth)
{
	struct uring_mirror_options options = {
		.size = sizeof(options), .slots = slots, .depth = depth};
	struct uring_mirror *m;
	int ret = uring_mirror_open_with(&m, mm, &options,
					 coherence ? coherence : &uring_coherence_hmmu);

	assert_int_equal(ret, 0);
	return m;
}

struct uring_mirror_stats test_stats(struct uring_mirror *m)
{
	struct uring_mirror_stats stats;

	uring_mirror_stats(m, &stats);
	return stats;
}

void test_settle(struct uring_mirror *m, unsigned int live)
{
	slots_sweep(m);
	while (test_stats(m).pinned > live)
		assert_int_equal(reap_wait(m, NULL), 0);
	assert_int_equal(test_stats(m).pinned, live);
}

unsigned int test_open_fds(void)
{
	unsigned int n = 0;

	for (int fd = 0; fd < 1024; fd++)
		n += fcntl(fd, F_GETFD) >= 0;
	return n;
}

unsigned long test_pinned_kb(void)
{
	unsigned long kb = 0;
	char line[256];
	FILE *f = fopen("/proc/self/status", "r");

	assert_non_null(f);
	while (fgets(line, sizeof(line), f))
		if (sscanf(line, "VmPin: %lu", &kb) == 1)
			break;
	fclose(f);
	return kb;
}

int test_in_child(int (*fn)(void *arg), void *arg)
{
	pid_t pid = fork();
	int status;

	if (!pid)
		_exit(fn(arg));
	if (pid < 0 || waitpid(pid, &status, 0) != pid || !WIFEXITED(status))
		return -1;
	return WEXITSTATUS(status);
}
