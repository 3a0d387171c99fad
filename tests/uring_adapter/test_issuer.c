// SPDX-License-Identifier: MIT
/*
 * test_issuer.c - rings on which one thread alone may register (SINGLE_ISSUER with
 * DEFER_TASKRUN): what others let die waits for it. And SQPOLL, and rings not enabled yet.
 */
#include "adapter_test.h"

#include <sys/syscall.h>

static struct bed b;
static unsigned char *p;
static struct hmmu_uring_req req;

static int setup(void **state)
{
	bed_open(&b, SINGLE, 2);
	p = bed_pages(3, 'o');
	return 0;
}

static int teardown(void **state)
{
	bed_close(&b);
	munmap(p, 3 * PAGE);
	return 0;
}

static int remap_and_reclaim(void *arg)
{
	bed_remap(&b, p, 1, 'n');
	bed_reclaim(&b);
	return 0;
}

/* One slot is dead: its pages are pinned, and no look-up finds it. */
static void let_one_die(void)
{
	assert_int_equal(bed_write(&b, p, PAGE, 0, &req), PAGE);
	assert_int_equal(pinned_kb(), b.pinned + 4);
	assert_int_equal(in_thread(remap_and_reclaim, NULL), 0);
	assert_int_equal(bed_stats(&b).slots_dead, 1);
	assert_int_equal(bed_stats(&b).slots_free, 1);
	assert_int_equal(bed_stats(&b).cache.regions, 0);
	assert_int_equal(pinned_kb(), b.pinned + 4);
	/* Nobody tried in vain. */
	assert_int_equal(bed_stats(&b).empty_failed, 0);
}

static void all_free(void)
{
	assert_int_equal(bed_stats(&b).slots_dead, 0);
	assert_int_equal(bed_stats(&b).slots_free, 2);
	assert_int_equal(bed_stats(&b).emptied, 1);
	assert_int_equal(pinned_kb(), b.pinned);
}

static void next_prep(void **state)
{
	let_one_die();
	bed_prep_write(&b, p, 0, 0, &req);
	assert_int_equal(req.kind, HMMU_URING_PLAIN);
	all_free();
	assert_int_equal(bed_finish(&b), 0);
}

static void next_complete(void **state)
{
	struct hmmu_uring_req other;

	bed_block(&b, p + PAGE, 10, &other);
	assert_int_equal(bed_write(&b, p, PAGE, 0, &req), PAGE);
	assert_int_equal(in_thread(remap_and_reclaim, NULL), 0);
	assert_int_equal(bed_stats(&b).slots_dead, 1);
	assert_int_equal(pinned_kb(), b.pinned + 8);
	bed_feed(&b, 10, 'F');
	assert_int_equal(bed_finish(&b), 10);
	assert_int_equal(bed_stats(&b).slots_dead, 0);
	assert_int_equal(bed_stats(&b).slots_free, 1);
	assert_int_equal(pinned_kb(), b.pinned + 4);
}

static int flush_elsewhere(void *arg)
{
	return hmmu_uring_flush(b.u);
}

static void flush(void **state)
{
	let_one_die();
	assert_int_equal(in_thread(flush_elsewhere, NULL), -EEXIST);
	assert_int_equal(bed_stats(&b).slots_dead, 1);
	assert_int_equal(bed_stats(&b).empty_failed, 1);
	assert_int_equal(quiet(hmmu_uring_flush(b.u)), 0);
	all_free();
	assert_int_equal(hmmu_uring_flush(b.u), 0);
}

static int complete_it(void *arg)
{
	return hmmu_uring_complete(b.u, arg, -ECANCELED);
}

/* Completing is legal anywhere; emptying is not, so it is not tried. */
static void complete_elsewhere(void **state)
{
	struct hmmu_uring_req other;
	struct io_uring_sqe *sqe;

	assert_int_equal(bed_write(&b, p, PAGE, 0, &req), PAGE);
	sqe = bed_prep_write(&b, p + PAGE, PAGE, 1, &other);
	io_uring_prep_nop(sqe);
	assert_int_equal(in_thread(remap_and_reclaim, NULL), 0);
	assert_int_equal(in_thread(complete_it, &other), -ECANCELED);
	assert_int_equal(bed_stats(&b).slots_dead, 1);
	assert_int_equal(bed_stats(&b).empty_failed, 0);
	assert_int_equal(hmmu_uring_flush(b.u), 0);
	assert_int_equal(bed_stats(&b).slots_free, 1);
}

/* A miss needs a slot at once: what is dead, and what an eviction leaves dead, is emptied
 * inside prep. */
static void eviction(void **state)
{
	for (unsigned int i = 0; i < 3; i++) {
		assert_int_equal(bed_write(&b, p + i * PAGE, PAGE, i, &req), PAGE);
		assert_int_equal(bed_file_byte(&b, i), 'o');
	}
	assert_int_equal(bed_stats(&b).fixed, 3);
	assert_int_equal(bed_stats(&b).plain, 0);
	assert_int_equal(bed_stats(&b).cache.evicted, 1);
	assert_int_equal(bed_stats(&b).emptied, 1);
}

static void in_flight(void **state)
{
	int res;

	bed_block(&b, p, 50, &req);
	assert_int_equal(in_thread(remap_and_reclaim, NULL), 0);
	/* In use: not even dead. */
	assert_int_equal(bed_stats(&b).slots_dead, 0);
	assert_int_equal(bed_stats(&b).slots_free, 1);
	bed_feed(&b, 50, 'D');
	assert_int_equal(bed_finish_res(&b, &res), -ESTALE);
	assert_int_equal(res, 50);
	assert_int_equal(p[0], 'n');
	bed_reclaim(&b);
	assert_int_equal(bed_stats(&b).slots_dead, 1);
	assert_int_equal(hmmu_uring_flush(b.u), 0);
	all_free();
}

static int close_it(void *arg)
{
	return hmmu_uring_close(b.u);
}

/* The adapter is gone, the table is the ring's until its exit. */
static void closed_elsewhere(void **state)
{
	let_one_die();
	assert_int_equal(in_thread(close_it, NULL), 0);
	assert_int_equal(pinned_kb(), b.pinned + 4);
	assert_int_equal(hmmu_uring_open(&b.u, &b.ring, b.mm, NULL), -EBUSY);
	b.u = NULL;
}

static int open_it(void *arg)
{
	struct hmmu_uring *u;

	return hmmu_uring_open(&u, &b.ring, b.mm, NULL);
}

static void opened_elsewhere(void **state)
{
	assert_int_equal(hmmu_uring_close(b.u), 0);
	b.u = NULL;
	assert_int_equal(in_thread(open_it, NULL), -EEXIST);
	/* Nothing is left of it. */
	assert_int_equal(hmmu_uring_open(&b.u, &b.ring, b.mm, NULL), 0);
}

static int prep_elsewhere(void *arg)
{
	bed_prep_write(&b, p, PAGE, 0, &req);
	return 0;
}

/* May write entries, may not register: not a failure either. */
static void prepared_elsewhere(void **state)
{
	assert_int_equal(in_thread(prep_elsewhere, NULL), 0);
	assert_int_equal(req.kind, HMMU_URING_PLAIN);
	assert_int_equal(req.why, -EEXIST);
	assert_int_equal(bed_finish(&b), PAGE);
	assert_int_equal(bed_file_byte(&b, 0), 'o');
	assert_int_equal(bed_stats(&b).plain_others, 1);
	assert_int_equal(bed_stats(&b).slots_free, 2);
}

/* liburing 2.3 declares these two calls, and its library lacks them. */
static int enable(void *arg)
{
	return (int)syscall(SYS_io_uring_register, b.ring.ring_fd, IORING_REGISTER_ENABLE_RINGS,
			    NULL, 0);
}

static int restrict_ring(struct io_uring_restriction *allow, unsigned int n)
{
	return (int)syscall(SYS_io_uring_register, b.ring.ring_fd, IORING_REGISTER_RESTRICTIONS,
			    allow, n);
}

static int enable_and_use(void *arg)
{
	struct hmmu_uring_req other;

	assert_int_equal(enable(NULL), 0);
	/* This thread is the issuer now: the entry that another prepared is good. */
	assert_int_equal(bed_finish(&b), PAGE);
	assert_int_equal(bed_write(&b, p + PAGE, PAGE, 1, &req), PAGE);
	bed_block(&b, p + 2 * PAGE, 10, &other);
	assert_int_equal(bed_stats(&b).fixed, 3);
	remap_and_reclaim(NULL);
	assert_int_equal(bed_stats(&b).slots_dead, 1);
	bed_feed(&b, 10, 'F');
	assert_int_equal(bed_finish(&b), 10);
	assert_int_equal(bed_stats(&b).slots_dead, 0);
	assert_int_equal(bed_stats(&b).slots_free, 1);
	assert_int_equal(hmmu_uring_close(b.u), 0);
	return 0;
}

static void not_enabled(void **state)
{
	bed_open(&b, SINGLE | IORING_SETUP_R_DISABLED, 3);
	p = bed_pages(3, 'o');
	bed_prep_write(&b, p, PAGE, 0, &req);
	assert_int_equal(req.kind, HMMU_URING_FIXED);
	assert_int_equal(in_thread(enable_and_use, NULL), 0);
	b.u = NULL;
	bed_close(&b);
	munmap(p, 3 * PAGE);
}

/*
 * Restrictions that forbid the adapter's calls once the ring is enabled: what was filled
 * cannot be emptied, is never handed out again, and goes with the ring.
 */
static void restricted(void **state)
{
	struct io_uring_restriction allow[] = {
		{.opcode = IORING_RESTRICTION_SQE_OP, .sqe_op = IORING_OP_WRITE_FIXED},
		{.opcode = IORING_RESTRICTION_SQE_OP, .sqe_op = IORING_OP_WRITE},
		{.opcode = IORING_RESTRICTION_REGISTER_OP,
		 .register_op = IORING_REGISTER_ENABLE_RINGS},
	};

	bed_open(&b, IORING_SETUP_R_DISABLED, 2);
	p = bed_pages(3, 'o');
	bed_prep_write(&b, p, PAGE, 0, &req);
	assert_int_equal(restrict_ring(allow, 3), 0);
	assert_int_equal(enable(NULL), 0);
	assert_int_equal(bed_finish(&b), PAGE);
	remap_and_reclaim(NULL);
	assert_int_equal(bed_stats(&b).slots_dead, 1);
	assert_int_equal(bed_stats(&b).empty_failed, 1);
	assert_int_equal(hmmu_uring_flush(b.u), -EACCES);
	assert_int_equal(bed_stats(&b).slots_dead, 1);
	assert_int_equal(bed_write(&b, p, PAGE, 0, &req), PAGE);
	assert_int_equal(bed_file_byte(&b, 0), 'n');
	assert_int_equal(bed_stats(&b).plain_others, 1);
	assert_int_equal(bed_stats(&b).slots_free, 1);
	assert_int_equal(bed_stats(&b).slots_dead, 1);
	bed_close(&b);
	munmap(p, 3 * PAGE);
}

/* A table may be made, and not updated: open leaves none behind. */
static void no_updates(void **state)
{
	struct io_uring_restriction allow[] = {
		{.opcode = IORING_RESTRICTION_REGISTER_OP,
		 .register_op = IORING_REGISTER_ENABLE_RINGS},
		{.opcode = IORING_RESTRICTION_REGISTER_OP,
		 .register_op = IORING_REGISTER_BUFFERS2},
		{.opcode = IORING_RESTRICTION_REGISTER_OP,
		 .register_op = IORING_UNREGISTER_BUFFERS},
	};

	bed_open(&b, IORING_SETUP_R_DISABLED, 0);
	assert_int_equal(restrict_ring(allow, 3), 0);
	assert_int_equal(enable(NULL), 0);
	for (int i = 0; i < 2; i++)
		assert_int_equal(quiet(hmmu_uring_open(&b.u, &b.ring, b.mm, NULL)), -EACCES);
	bed_close(&b);
}

static void sqpoll(void **state)
{
	int res;

	bed_open(&b, IORING_SETUP_SQPOLL, 2);
	p = bed_pages(3, 'o');
	for (unsigned int i = 0; i < 3; i++) {
		assert_int_equal(bed_write(&b, p, PAGE, 0, &req), PAGE);
		assert_int_equal(bed_file_byte(&b, 0), i ? 'n' : 'o');
		/* On such a ring whoever reclaims empties it. */
		assert_int_equal(in_thread(remap_and_reclaim, NULL), 0);
		assert_int_equal(bed_stats(&b).slots_free, 2);
	}
	bed_block(&b, p, 50, &req);
	assert_int_equal(in_thread(remap_and_reclaim, NULL), 0);
	assert_int_equal(bed_stats(&b).slots_free, 1);
	bed_feed(&b, 50, 'D');
	assert_int_equal(bed_finish_res(&b, &res), -ESTALE);
	bed_reclaim(&b);
	assert_int_equal(bed_stats(&b).slots_free, 2);
	bed_close(&b);
	munmap(p, 3 * PAGE);
}

#define each(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		each(next_prep),
		each(next_complete),
		each(flush),
		each(complete_elsewhere),
		each(eviction),
		each(in_flight),
		each(closed_elsewhere),
		each(opened_elsewhere),
		each(prepared_elsewhere),
		cmocka_unit_test(not_enabled),
		cmocka_unit_test(restricted),
		cmocka_unit_test(no_updates),
		cmocka_unit_test(sqpoll),
	};
	int refused = bed_refused();

	return refused ? refused : cmocka_run_group_tests(tests, NULL, NULL);
}
