// SPDX-License-Identifier: MIT
#include "adapter_test.h"

#include <dirent.h>

#define GUARD_SECONDS 60

int bed_refused(void)
{
	struct io_uring ring;
	int ret = io_uring_queue_init(2, &ring, 0);

	alarm(GUARD_SECONDS); /* a hang is a failure */
	if (!ret) {
		io_uring_queue_exit(&ring);
		return 0;
	}
	if (ret == -ENOSYS || ret == -EPERM) {
		printf("skipped: no io_uring here: %s\n", strerror(-ret));
		return SKIP;
	}
	printf("io_uring: %s\n", strerror(-ret));
	return 1;
}

unsigned int open_fds(void)
{
	DIR *dir = opendir("/proc/self/fd");
	unsigned int n = 0;

	assert_non_null(dir);
	while (readdir(dir))
		n++;
	closedir(dir);
	return n;
}

unsigned long pinned_kb(void)
{
	FILE *f = fopen("/proc/self/status", "re");
	unsigned long kb = ~0ul;
	char line[128];

	assert_non_null(f);
	while (fgets(line, sizeof(line), f))
		if (!strncmp(line, "VmPin:", 6))
			kb = strtoul(line + 6, NULL, 10);
	fclose(f);
	assert_int_not_equal(kb, ~0ul);
	return kb;
}

static int test_file(void)
{
	int fd = memfd_create("file", MFD_CLOEXEC);
	char page[PAGE];

	assert_true(fd >= 0);
	for (int p = 0; p < 16; p++) {
		memset(page, 'a' + p, PAGE);
		assert_int_equal(write(fd, page, PAGE), PAGE);
	}
	return fd;
}

void bed_open(struct bed *bed, unsigned int ring_flags, unsigned int slots)
{
	struct hmmu_mm_options mm = {.size = sizeof(mm),
				     .sources = HMMU_SOURCE_EXPLICIT,
				     .flags = HMMU_MM_OWN_RECLAIM};
	struct hmmu_uring_options o = HMMU_URING_DEFAULTS;

	memset(bed, 0, sizeof(*bed));
	bed->fds = open_fds();
	bed->pinned = pinned_kb();
	bed->file = test_file();
	assert_int_equal(pipe2(bed->pipe, O_CLOEXEC), 0);
	assert_int_equal(io_uring_queue_init(8, &bed->ring, ring_flags), 0);
	assert_int_equal(hmmu_mm_open(&bed->mm, &mm), 0);
	if (!slots)
		return;
	o.slots = slots;
	assert_int_equal(o.max_merged, PAGE); /* a slot for each buffer */
	assert_int_equal(quiet(hmmu_uring_open(&bed->u, &bed->ring, bed->mm, &o)), 0);
}

void bed_close(struct bed *bed)
{
	if (bed->u)
		assert_int_equal(quiet(hmmu_uring_close(bed->u)), 0);
	io_uring_queue_exit(&bed->ring);
	assert_int_equal(hmmu_mm_close(bed->mm), 0);
	close(bed->file);
	close(bed->pipe[0]);
	close(bed->pipe[1]);
	assert_int_equal(open_fds(), bed->fds);
	/* A ring's last work is done after its exit; the guard ends a leak. */
	while (pinned_kb() != bed->pinned)
		usleep(1000);
}

void bed_reclaim(struct bed *bed)
{
	assert_true(hmmu_reclaim(bed->mm) >= 0);
}

struct hmmu_uring_stats bed_stats(struct bed *bed)
{
	struct hmmu_uring_stats s;

	hmmu_uring_stat(bed->u, &s);
	assert_int_equal(s.plain, s.plain_room + s.plain_size + s.plain_changing +
					  s.plain_unwatched + s.plain_unpinned +
					  s.plain_others);
	return s;
}

unsigned char *bed_pages(unsigned int pages, int fill)
{
	void *p = mmap(NULL, pages * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
		       -1, 0);

	assert_ptr_not_equal(p, MAP_FAILED);
	return memset(p, fill, pages * PAGE);
}

void bed_remap(struct bed *bed, unsigned char *at, unsigned int pages, int fill)
{
	struct mmu_notifier_range range;
	unsigned long start = (unsigned long)at;

	mmu_notifier_range_init(&range, MMU_NOTIFY_UNMAP, MMU_NOTIFIER_RANGE_BLOCKABLE, bed->mm,
				start, start + pages * PAGE);
	assert_int_equal(mmu_notifier_invalidate_range_start(&range), 0);
	assert_int_equal(munmap(at, pages * PAGE), 0);
	assert_ptr_equal(mmap(at, pages * PAGE, PROT_READ | PROT_WRITE,
			      MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0),
			 at);
	mmu_notifier_invalidate_range_end(&range);
	memset(at, fill, pages * PAGE);
}

struct io_uring_sqe *bed_prep_read(struct bed *bed, void *at, size_t len, unsigned int page,
				   struct hmmu_uring_req *req)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&bed->ring);

	assert_int_equal(
		quiet(hmmu_uring_prep_read(bed->u, sqe, bed->file, at, len, page * PAGE, req)),
		0);
	return sqe;
}

struct io_uring_sqe *bed_prep_write(struct bed *bed, const void *at, size_t len,
				    unsigned int page, struct hmmu_uring_req *req)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&bed->ring);

	assert_int_equal(
		quiet(hmmu_uring_prep_write(bed->u, sqe, bed->file, at, len, page * PAGE, req)),
		0);
	return sqe;
}

void bed_block(struct bed *bed, void *at, size_t len, struct hmmu_uring_req *req)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&bed->ring);

	assert_int_equal(hmmu_uring_prep_read(bed->u, sqe, bed->pipe[0], at, len, -1ull, req),
			 0);
	assert_int_equal(io_uring_submit(&bed->ring), 1);
}

void bed_feed(struct bed *bed, size_t len, int fill)
{
	char bytes[PAGE];

	assert_true(len <= sizeof(bytes));
	memset(bytes, fill, len);
	assert_int_equal(write(bed->pipe[1], bytes, len), len);
}

int bed_finish_res(struct bed *bed, int *res)
{
	struct io_uring_cqe *cqe;
	int ret;

	assert_true(io_uring_submit(&bed->ring) >= 0);
	do
		ret = io_uring_wait_cqe(&bed->ring, &cqe);
	while (ret == -EINTR);
	assert_int_equal(ret, 0);
	*res = cqe->res;
	ret = quiet(hmmu_uring_complete(bed->u, io_uring_cqe_get_data(cqe), cqe->res));
	io_uring_cqe_seen(&bed->ring, cqe);
	return ret;
}

int bed_finish(struct bed *bed)
{
	int res;

	return bed_finish_res(bed, &res);
}

int bed_read(struct bed *bed, void *at, size_t len, unsigned int page,
	     struct hmmu_uring_req *req)
{
	bed_prep_read(bed, at, len, page, req);
	return bed_finish(bed);
}

int bed_write(struct bed *bed, const void *at, size_t len, unsigned int page,
	      struct hmmu_uring_req *req)
{
	bed_prep_write(bed, at, len, page, req);
	return bed_finish(bed);
}

int bed_file_byte(struct bed *bed, unsigned int page)
{
	unsigned char c;

	assert_int_equal(pread(bed->file, &c, 1, page * PAGE), 1);
	return c;
}

bool bed_slot_holds(struct bed *bed, unsigned int slot, const void *at)
{
	int fd = memfd_create("probe", MFD_CLOEXEC), res;
	struct io_uring_cqe *cqe;

	io_uring_prep_write_fixed(io_uring_get_sqe(&bed->ring), fd, at, PAGE, 0, (int)slot);
	assert_int_equal(io_uring_submit_and_wait(&bed->ring, 1), 1);
	assert_int_equal(io_uring_peek_cqe(&bed->ring, &cqe), 0);
	res = cqe->res;
	io_uring_cqe_seen(&bed->ring, cqe);
	close(fd);
	assert_true(res == PAGE || res == -EFAULT);
	return res == PAGE;
}

struct thread_call {
	int (*fn)(void *arg);
	void *arg;
	int ret;
};

static void *call_it(void *arg)
{
	struct thread_call *call = arg;

	call->ret = call->fn(call->arg);
	return NULL;
}

int in_thread(int (*fn)(void *arg), void *arg)
{
	struct thread_call call = {fn, arg, -1};
	pthread_t thread;

	assert_int_equal(pthread_create(&thread, NULL, call_it, &call), 0);
	assert_int_equal(pthread_join(thread, NULL), 0);
	return call.ret;
}

int in_a_child(int (*fn)(void *arg), void *arg)
{
	int status;
	pid_t pid;

	fflush(NULL);
	pid = fork();
	if (!pid) {
		alarm(GUARD_SECONDS);
		_exit(fn(arg));
	}
	assert_true(pid > 0);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}
