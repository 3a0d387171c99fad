// SPDX-License-Identifier: MIT
/* test_refused.c - bad arguments, memory that cannot be pinned, limits, fork. */
#include "adapter_test.h"

#include <linux/capability.h>
#include <linux/userfaultfd.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/vfs.h>

static struct bed b;
static struct hmmu_uring_req req;

static int setup(void **state)
{
	bed_open(&b, 0, 4);
	return 0;
}

static int teardown(void **state)
{
	bed_close(&b);
	return 0;
}

static void bad_options(void **state)
{
	struct hmmu_uring_options bad[9];
	struct hmmu_uring *u = NULL;

	for (int i = 0; i < 9; i++)
		bad[i] = (struct hmmu_uring_options)HMMU_URING_DEFAULTS;
	bad[0].size = 0;
	bad[1].size++;
	bad[2].slots = 0;
	bad[3].slots = HMMU_URING_MAX_SLOTS + 1;
	bad[4].flags = 1;
	bad[5].max_bytes = 0;
	bad[6].max_merged = 0;
	bad[7].reserved[0] = 1;
	bad[8].reserved[5] = 1;
	bed_open(&b, 0, 0);
	for (int i = 0; i < 9; i++)
		assert_int_equal(quiet(hmmu_uring_open(&u, &b.ring, b.mm, &bad[i])), -EINVAL);
	assert_int_equal(hmmu_uring_open(NULL, &b.ring, b.mm, NULL), -EINVAL);
	assert_int_equal(hmmu_uring_open(&u, NULL, b.mm, NULL), -EINVAL);
	assert_null(u);
	/* The largest and the least. */
	bad[3].slots--;
	assert_int_equal(hmmu_uring_open(&u, &b.ring, b.mm, &bad[3]), 0);
	assert_int_equal(hmmu_uring_close(u), 0);
	bad[2].slots = 1;
	assert_int_equal(hmmu_uring_open(&u, &b.ring, b.mm, &bad[2]), 0);
	assert_int_equal(hmmu_uring_close(u), 0);
	assert_int_equal(hmmu_uring_close(NULL), -EINVAL);
	assert_int_equal(hmmu_uring_flush(NULL), -EINVAL);
	assert_null(hmmu_uring_cache(NULL));
	bed_close(&b);
}

static void nulls(void **state)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&b.ring), before;
	char c;

	io_uring_prep_nop(sqe);
	before = *sqe;
	assert_int_equal(quiet(hmmu_uring_prep_read(NULL, sqe, 0, &c, 1, 0, &req)), -EINVAL);
	assert_int_equal(hmmu_uring_prep_write(b.u, sqe, 0, &c, 1, 0, NULL), -EINVAL);
	assert_memory_equal(sqe, &before, sizeof(before));
	assert_int_equal(hmmu_uring_complete(NULL, &req, 0), -EINVAL);
	assert_int_equal(hmmu_uring_complete(b.u, NULL, 0), -EINVAL);
	req.kind = HMMU_URING_IDLE;
	assert_int_equal(quiet(hmmu_uring_complete(b.u, &req, 0)), -EINVAL);
}

static void queue_full(void **state)
{
	unsigned char *p = bed_pages(1, 'o');
	struct hmmu_uring_req many[8];

	for (int i = 0; i < 8; i++)
		bed_prep_write(&b, p, PAGE, 0, &many[i]);
	assert_null(io_uring_get_sqe(&b.ring));
	assert_int_equal(quiet(hmmu_uring_prep_read(b.u, io_uring_get_sqe(&b.ring), b.file, p,
						    PAGE, 0, &req)),
			 -EAGAIN);
	for (int i = 0; i < 8; i++)
		assert_int_equal(bed_finish(&b), PAGE);
	/* No reference was taken: close says so. */
	assert_int_equal(bed_stats(&b).fixed, 8);
	munmap(p, PAGE);
}

/* Of address space. */
static unsigned long pages(void)
{
	unsigned long n = 0;
	FILE *f = fopen("/proc/self/statm", "re");

	assert_non_null(f);
	assert_int_equal(fscanf(f, "%lu", &n), 1);
	fclose(f);
	return n;
}

static void table_taken(void **state)
{
	unsigned char *p = bed_pages(1, 't');
	struct iovec own = {p, PAGE};
	struct hmmu_uring *u = NULL;
	unsigned long before;

	assert_int_equal(quiet(hmmu_uring_open(&u, &b.ring, b.mm, NULL)), -EBUSY);
	before = pages();
	for (int i = 0; i < 64; i++)
		assert_int_equal(hmmu_uring_open(&u, &b.ring, b.mm, NULL), -EBUSY);
	assert_int_equal(pages(), before);
	assert_non_null(strstr(hmmu_uring_why(-EBUSY), "table"));
	assert_int_equal(bed_write(&b, p, PAGE, 0, &req), PAGE);
	assert_int_equal(hmmu_uring_close(b.u), 0);
	b.u = NULL;
	/* The application's own: it stays as it is. */
	assert_int_equal(io_uring_register_buffers(&b.ring, &own, 1), 0);
	assert_int_equal(hmmu_uring_open(&u, &b.ring, b.mm, NULL), -EBUSY);
	assert_null(u);
	assert_true(bed_slot_holds(&b, 0, p));
	assert_int_equal(io_uring_unregister_buffers(&b.ring), 0);
	munmap(p, PAGE);
}

static void close_in_flight(void **state)
{
	unsigned char *p = bed_pages(1, 'o');

	bed_block(&b, p, 10, &req);
	assert_int_equal(quiet(hmmu_uring_close(b.u)), -EBUSY);
	/* Nothing has changed. */
	bed_feed(&b, 10, 'F');
	assert_int_equal(bed_finish(&b), 10);
	assert_int_equal(p[9], 'F');
	assert_int_equal(bed_write(&b, p, PAGE, 0, &req), PAGE);
	assert_int_equal(bed_stats(&b).cache.hits, 1);
	munmap(p, PAGE);
}

/* Prepared plain for @why; what the CQE says. */
static int plain_write(const void *at, size_t len, int why)
{
	struct io_uring_sqe *sqe = bed_prep_write(&b, at, len, 0, &req);
	int res, ret;

	assert_int_equal(sqe->opcode, IORING_OP_WRITE);
	assert_int_equal(sqe->buf_index, 0);
	assert_int_equal(req.kind, HMMU_URING_PLAIN);
	assert_int_equal(req.why, why);
	ret = bed_finish_res(&b, &res);
	assert_int_equal(ret, res);
	return res;
}

static void no_memory_there(void **state)
{
	unsigned char *p = bed_pages(3, 'o');

	munmap(p + PAGE, PAGE);
	assert_int_equal(plain_write(p + PAGE, PAGE, -EFAULT), -EFAULT);
	/* Partly: as far as plain io_uring goes, whichever that is. */
	(void)plain_write(p, 2 * PAGE, -EFAULT);
	assert_int_equal(plain_write((void *)-PAGE, 2 * PAGE, -EINVAL), -EFAULT);
	assert_int_equal(plain_write(p, 0, 0), 0);
	assert_int_equal(bed_stats(&b).plain_unpinned, 2);
	assert_int_equal(bed_stats(&b).plain_size, 1);
	assert_int_equal(bed_stats(&b).plain_others, 1);
	/* Nothing is cached: when it is mapped it is found. */
	assert_ptr_equal(mmap(p + PAGE, PAGE, PROT_READ | PROT_WRITE,
			      MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0),
			 p + PAGE);
	assert_int_equal(bed_write(&b, p, 3 * PAGE, 0, &req), 3 * PAGE);
	assert_int_equal(bed_stats(&b).fixed, 1);
	assert_int_equal(bed_stats(&b).slots_free, 3);
	munmap(p, 3 * PAGE);
}

static void *line_of_maps(const char *name)
{
	FILE *f = fopen("/proc/self/maps", "re");
	unsigned long at = 0;
	char line[512];

	assert_non_null(f);
	while (!at && fgets(line, sizeof(line), f))
		if (strstr(line, name))
			at = strtoul(line, NULL, 16);
	fclose(f);
	return (void *)at;
}

static void not_for_writing(void **state)
{
	unsigned char *p = bed_pages(1, 'r');
	void *vvar = line_of_maps("[vvar]");
	int res;

	assert_int_equal(mprotect(p, PAGE, PROT_READ), 0);
	assert_int_equal(plain_write(p, PAGE, -EFAULT), PAGE);
	assert_int_equal(bed_file_byte(&b, 0), 'r');
	bed_prep_read(&b, p, PAGE, 0, &req);
	assert_int_equal(req.kind, HMMU_URING_PLAIN);
	assert_int_equal(bed_finish_res(&b, &res), -EFAULT);
	assert_int_equal(mprotect(p, PAGE, PROT_NONE), 0);
	assert_int_equal(plain_write(p, PAGE, -EFAULT), -EFAULT);
	/* A device's pages (VM_PFNMAP). */
	if (vvar)
		(void)plain_write(vvar, PAGE, -EFAULT);
	assert_int_equal(bed_stats(&b).plain_unpinned, vvar ? 4 : 3);
	assert_int_equal(bed_stats(&b).slots_free, 4);
	assert_int_equal(pinned_kb(), b.pinned);
	munmap(p, PAGE);
}

/* A disk's file, shared: io_uring does not pin it for long. Memory files it does. */
static void files(void **state)
{
	char name[] = "uring_adapter.XXXXXX";
	int fd = mkstemp(name);
	struct statfs fs;
	unsigned char *p;

	assert_true(fd >= 0);
	unlink(name);
	assert_int_equal(ftruncate(fd, PAGE), 0);
	assert_int_equal(fstatfs(fd, &fs), 0);
	p = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	assert_ptr_not_equal(p, MAP_FAILED);
	memset(p, 's', PAGE);
	if (fs.f_type == 0x01021994) /* tmpfs */
		assert_int_equal(bed_write(&b, p, PAGE, 0, &req), PAGE);
	else
		assert_int_equal(plain_write(p, PAGE, -EFAULT), PAGE);
	assert_int_equal(bed_file_byte(&b, 0), 's');
	munmap(p, PAGE);
	close(fd);

	p = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, b.file, 3 * PAGE);
	assert_ptr_not_equal(p, MAP_FAILED);
	bed_prep_write(&b, p, PAGE, 1, &req);
	assert_int_equal(req.kind, HMMU_URING_FIXED);
	assert_int_equal(bed_finish(&b), PAGE);
	assert_int_equal(bed_file_byte(&b, 1), 'd');
	munmap(p, PAGE);
}

/* More than a slot holds; more than one request can transfer. */
static void large(void **state)
{
	size_t size = (4ul << 30) + 2 * PAGE;
	unsigned char *p = mmap(NULL, size, PROT_READ | PROT_WRITE,
				MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	struct io_uring_sqe *sqe;

	assert_ptr_not_equal(p, MAP_FAILED);
	sqe = bed_prep_read(&b, p, HMMU_URING_MAX_BUFFER + 1, 0, &req);
	assert_int_equal(sqe->len, HMMU_URING_MAX_BUFFER + 1);
	assert_int_equal(req.why, -E2BIG);
	assert_int_equal(bed_finish(&b), 16 * PAGE); /* the file's end */
	assert_int_equal(p[15 * PAGE], 'p');
	/* Not by its length, but by the pages that it touches. */
	sqe = bed_prep_read(&b, p + 1, HMMU_URING_MAX_BUFFER, 0, &req);
	assert_int_equal(req.why, -E2BIG);
	assert_int_equal(bed_finish(&b), 16 * PAGE);
	sqe = bed_prep_read(&b, p, (4ul << 30) + 1, 0, &req);
	assert_int_equal(sqe->len, 0x7ffff000);
	assert_int_equal(bed_finish(&b), 16 * PAGE);
	assert_int_equal(bed_stats(&b).plain_size, 3);
	/* What is longer is not even tried. */
	assert_int_equal(bed_stats(&b).cache.misses, 1);
	assert_int_equal(bed_stats(&b).slots_free, 4);
	munmap(p, size);
}

/* The application has a userfaultfd of its own there: nobody tells hmmu, so nothing is
 * cached. */
static void unwatched(void **state)
{
	struct hmmu_mm_options o = {.size = sizeof(o), .sources = HMMU_SOURCE_USERFAULTFD};
	int fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | UFFD_USER_MODE_ONLY);
	struct uffdio_api api = {.api = UFFD_API};
	unsigned char *p = bed_pages(1, 'o');
	struct uffdio_register reg = {.range = {(unsigned long)p, PAGE},
				      .mode = UFFDIO_REGISTER_MODE_MISSING};
	struct mm_struct *mm = b.mm;

	if (fd < 0 || hmmu_mm_open(&b.mm, &o)) {
		print_message("no userfaultfd here\n");
		b.mm = mm;
		goto out;
	}
	assert_int_equal(hmmu_uring_close(b.u), 0);
	assert_int_equal(hmmu_uring_open(&b.u, &b.ring, b.mm, NULL), 0);
	assert_int_equal(ioctl(fd, UFFDIO_API, &api), 0);
	assert_int_equal(ioctl(fd, UFFDIO_REGISTER, &reg), 0);
	assert_int_equal(plain_write(p, PAGE, -ENODEV), PAGE);
	assert_int_equal(bed_file_byte(&b, 0), 'o');
	assert_int_equal(bed_stats(&b).plain_unwatched, 1);
	assert_int_equal(hmmu_uring_close(b.u), 0);
	b.u = NULL;
	assert_int_equal(hmmu_mm_close(b.mm), 0);
	b.mm = mm;
out:
	if (fd >= 0)
		close(fd);
	munmap(p, PAGE);
}

static void max_bytes(void **state)
{
	struct hmmu_uring_options o = HMMU_URING_DEFAULTS;
	unsigned char *p = bed_pages(4, 'o');
	struct hmmu_uring_req blocked;

	assert_int_equal(hmmu_uring_close(b.u), 0);
	o.max_bytes = 2 * PAGE;
	o.max_merged = PAGE;
	assert_int_equal(hmmu_uring_open(&b.u, &b.ring, b.mm, &o), 0);
	bed_block(&b, p, PAGE, &blocked);
	assert_int_equal(plain_write(p + PAGE, 3 * PAGE, -ENOBUFS), 3 * PAGE);
	assert_int_equal(bed_write(&b, p + PAGE, PAGE, 0, &req), PAGE);
	assert_int_equal(bed_stats(&b).plain_room, 1);
	assert_int_equal(bed_stats(&b).fixed, 2);
	bed_feed(&b, PAGE, 'F');
	assert_int_equal(bed_finish(&b), PAGE);
	munmap(p, 4 * PAGE);
}

/* The user's limit, in a child that has no right to exceed it. */
static int little_to_lock(void *arg)
{
	struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct none[2] = {{0}, {0}};
	struct rlimit limit = {8 * PAGE, 8 * PAGE};
	struct hmmu_mm_options mm = {.size = sizeof(mm), .sources = HMMU_SOURCE_EXPLICIT};
	struct hmmu_uring_stats s;
	struct io_uring_cqe *cqe;
	struct io_uring ring;
	struct hmmu_uring *u;
	struct mm_struct *own;
	unsigned char *p = bed_pages(32, 'o');

	CHILD_CHECK(!setrlimit(RLIMIT_MEMLOCK, &limit));
	/* Its own: the limit counts what all processes of a user have locked. */
	CHILD_CHECK(!setresgid(61234, 61234, 61234) && !setresuid(61234, 61234, 61234));
	CHILD_CHECK(!syscall(SYS_capset, &head, none));
	CHILD_CHECK(!io_uring_queue_init(4, &ring, 0));
	CHILD_CHECK(!hmmu_mm_open(&own, &mm));
	CHILD_CHECK(!hmmu_uring_open(&u, &ring, own, NULL));
	for (int i = 0; i < 2; i++) {
		size_t len = i ? 4 * PAGE : 32 * PAGE;

		CHILD_CHECK(!hmmu_uring_prep_write(u, io_uring_get_sqe(&ring), b.file, p, len,
						   0, &req));
		CHILD_CHECK(req.kind == (i ? HMMU_URING_FIXED : HMMU_URING_PLAIN));
		CHILD_CHECK(req.why == (i ? 0 : -ENOMEM));
		CHILD_CHECK(io_uring_submit_and_wait(&ring, 1) == 1);
		CHILD_CHECK(!io_uring_peek_cqe(&ring, &cqe) && cqe->res == (int)len);
		CHILD_CHECK(hmmu_uring_complete(u, &req, cqe->res) == (int)len);
		io_uring_cqe_seen(&ring, cqe);
	}
	hmmu_uring_stat(u, &s);
	CHILD_CHECK(s.plain_room == 1 && s.fixed == 1 && s.slots_free == s.slots - 1);
	CHILD_CHECK(!hmmu_uring_close(u));
	io_uring_queue_exit(&ring);
	CHILD_CHECK(!hmmu_mm_close(own));
	return 0;
}

static void memlock(void **state)
{
	if (geteuid() != 0) {
		print_message("not root: the limit is the user's own, shared with others\n");
		return;
	}
	assert_int_equal(in_a_child(little_to_lock, NULL), 0);
}

static int child(void *arg)
{
	struct io_uring_sqe *sqe = arg, before = *sqe;
	struct hmmu_uring_stats s;
	struct io_uring_cqe *cqe;
	struct hmmu_uring_req own;
	struct io_uring ring;
	struct hmmu_uring *u;
	unsigned char *p = bed_pages(1, 'c');

	errno = SENTINEL;
	CHILD_CHECK(hmmu_uring_prep_read(b.u, sqe, b.file, p, PAGE, 0, &own) == -ENODEV);
	CHILD_CHECK(hmmu_uring_prep_write(b.u, sqe, b.file, p, PAGE, 0, &own) == -ENODEV);
	/* The entry's memory is the parent's too. */
	CHILD_CHECK(!memcmp(sqe, &before, sizeof(before)));
	CHILD_CHECK(hmmu_uring_complete(b.u, &req, 0) == -ENODEV);
	CHILD_CHECK(hmmu_uring_flush(b.u) == -ENODEV);
	hmmu_uring_stat(b.u, &s);
	CHILD_CHECK(hmmu_uring_close(b.u) == 0);
	CHILD_CHECK(errno == SENTINEL);
	/* A ring and an adapter of its own work. */
	CHILD_CHECK(!io_uring_queue_init(4, &ring, 0));
	CHILD_CHECK(!hmmu_uring_open(&u, &ring, NULL, NULL));
	CHILD_CHECK(!hmmu_uring_prep_write(u, io_uring_get_sqe(&ring), b.file, p, PAGE,
					   7 * PAGE, &own));
	CHILD_CHECK(own.kind == HMMU_URING_FIXED);
	CHILD_CHECK(io_uring_submit_and_wait(&ring, 1) == 1);
	CHILD_CHECK(!io_uring_peek_cqe(&ring, &cqe));
	CHILD_CHECK(hmmu_uring_complete(u, &own, cqe->res) == PAGE);
	io_uring_cqe_seen(&ring, cqe);
	CHILD_CHECK(!hmmu_uring_close(u));
	io_uring_queue_exit(&ring);
	return 0;
}

/* With a request in flight, and one prepared. */
static void forked(void **state)
{
	unsigned char *p = bed_pages(2, 'o');
	struct hmmu_uring_req prepared;
	struct io_uring_sqe *sqe;

	bed_block(&b, p, 10, &req);
	sqe = bed_prep_write(&b, p + PAGE, PAGE, 0, &prepared);
	assert_int_equal(in_a_child(child, sqe), 0);
	assert_int_equal(bed_file_byte(&b, 7), 'c');
	/* The parent's is as it was. */
	assert_int_equal(bed_finish(&b), PAGE);
	bed_feed(&b, 10, 'F');
	assert_int_equal(bed_finish(&b), 10);
	assert_int_equal(p[0], 'F');
	assert_int_equal(bed_file_byte(&b, 0), 'o');
	munmap(p, 2 * PAGE);
}

static void why(void **state)
{
	static const int all[] = {EBUSY, EEXIST,    EACCES, EOPNOTSUPP, ENOMEM, ENOBUFS, EFAULT,
				  E2BIG, ETIMEDOUT, ESTALE, EAGAIN,	ENODEV, EIO,	 0};

	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
		assert_true(strlen(hmmu_uring_why(all[i])) > 0);
		assert_string_equal(hmmu_uring_why(all[i]), hmmu_uring_why(-all[i]));
	}
}

#define each(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(bad_options),
		each(nulls),
		each(queue_full),
		each(table_taken),
		each(close_in_flight),
		each(no_memory_there),
		each(not_for_writing),
		each(files),
		each(large),
		each(unwatched),
		each(max_bytes),
		each(memlock),
		each(forked),
		cmocka_unit_test(why),
	};
	int refused = bed_refused();

	return refused ? refused : cmocka_run_group_tests(tests, NULL, NULL);
}
