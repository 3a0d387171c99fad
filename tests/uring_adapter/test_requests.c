// SPDX-License-Identifier: MIT
/* test_requests.c - preparing and completing: hits, remaps, requests in flight, slots. */
#include "adapter_test.h"

static struct bed b;

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

static void hit_and_miss(void **state)
{
	unsigned char *p = bed_pages(1, 0);
	struct hmmu_uring_req req;
	struct hmmu_uring_stats s;

	assert_int_equal(bed_read(&b, p, PAGE, 1, &req), PAGE);
	assert_int_equal(p[0], 'b');
	assert_int_equal(p[PAGE - 1], 'b');
	s = bed_stats(&b);
	assert_int_equal(s.cache.misses, 1);
	assert_int_equal(s.slots_free, 3);

	/* For writing the same region serves; so does it for a part of the page. */
	memset(p, 'X', PAGE);
	assert_int_equal(bed_write(&b, p + 100, 1000, 2, &req), 1000);
	assert_int_equal(bed_file_byte(&b, 2), 'X');
	s = bed_stats(&b);
	assert_int_equal(s.cache.hits, 1);
	assert_int_equal(s.cache.regs, 1);
	assert_int_equal(s.fixed, 2);
	assert_int_equal(s.plain, 0);
	munmap(p, PAGE);
}

static void entry(void **state)
{
	unsigned char *p = bed_pages(2, 'p');
	struct hmmu_uring_req req;
	struct io_uring_sqe *sqe;
	struct io_uring_cqe *cqe;

	sqe = bed_prep_write(&b, p + 10, 20, 3, &req);
	assert_int_equal(sqe->opcode, IORING_OP_WRITE_FIXED);
	assert_int_equal(sqe->addr, (uintptr_t)(p + 10));
	assert_int_equal(sqe->len, 20);
	assert_int_equal(sqe->off, 3 * PAGE);
	assert_int_equal(sqe->fd, b.file);
	assert_int_equal(sqe->buf_index, req.ref.region->key[0]);
	assert_int_equal(sqe->user_data, (uintptr_t)&req);
	assert_int_equal(req.kind, HMMU_URING_FIXED);

	/* user_data is the application's. */
	sqe->user_data = 77;
	assert_int_equal(io_uring_submit_and_wait(&b.ring, 1), 1);
	assert_int_equal(io_uring_peek_cqe(&b.ring, &cqe), 0);
	assert_int_equal(cqe->user_data, 77);
	assert_int_equal(hmmu_uring_complete(b.u, &req, cqe->res), 20);
	io_uring_cqe_seen(&b.ring, cqe);
	/* There is no CQE that is not the application's. */
	bed_remap(&b, p, 2, 'q');
	bed_reclaim(&b);
	assert_int_equal(bed_stats(&b).slots_free, 4);
	assert_int_equal(io_uring_peek_cqe(&b.ring, &cqe), -EAGAIN);
	munmap(p, 2 * PAGE);
}

/* The rule that all of this is for. */
static void remapped_between(void **state)
{
	unsigned char *p = bed_pages(1, 'o');
	struct hmmu_uring_req req;

	assert_int_equal(bed_write(&b, p, PAGE, 0, &req), PAGE);
	assert_int_equal(bed_file_byte(&b, 0), 'o');
	bed_remap(&b, p, 1, 'n');
	/* Before the old slot is emptied, too. */
	assert_int_equal(bed_write(&b, p, PAGE, 0, &req), PAGE);
	assert_int_equal(req.kind, HMMU_URING_IDLE);
	assert_int_equal(bed_file_byte(&b, 0), 'n');
	bed_remap(&b, p, 1, 'n');
	bed_reclaim(&b);
	assert_int_equal(bed_read(&b, p, PAGE, 5, &req), PAGE);
	assert_int_equal(p[0], 'f');
	assert_int_equal(bed_stats(&b).fixed, 3);
	assert_int_equal(bed_stats(&b).cache.regs, 3);
	assert_int_equal(bed_stats(&b).stale, 0);
	munmap(p, PAGE);
}

static void remapped_in_flight(void **state)
{
	unsigned char *p = bed_pages(1, 'o');
	struct hmmu_uring_req req;
	unsigned int slot;
	int res;

	bed_block(&b, p, 100, &req);
	assert_int_equal(req.kind, HMMU_URING_FIXED);
	slot = (unsigned int)req.ref.region->key[0];
	bed_remap(&b, p, 1, 'n');
	bed_reclaim(&b);
	/* Dead, and not emptied while it is in use. */
	assert_true(bed_slot_holds(&b, slot, p));
	assert_int_equal(bed_stats(&b).slots_free, 3);
	bed_feed(&b, 100, 'D');
	assert_int_equal(bed_finish_res(&b, &res), -ESTALE);
	assert_int_equal(res, 100);
	/* They went to the old page. */
	assert_int_equal(p[0], 'n');
	bed_reclaim(&b);
	assert_false(bed_slot_holds(&b, slot, p));
	assert_int_equal(bed_stats(&b).slots_free, 4);
	assert_int_equal(bed_stats(&b).stale, 1);

	/* Again, as -ESTALE asks for. */
	bed_block(&b, p, 100, &req);
	bed_feed(&b, 100, 'E');
	assert_int_equal(bed_finish(&b), 100);
	assert_int_equal(p[99], 'E');
	assert_int_equal(p[100], 'n');
	munmap(p, PAGE);
}

/* A program that leaves a buffer alone while it is in use never sees -ESTALE, whatever
 * happens next to it. */
static void neighbour_remapped(void **state)
{
	unsigned char *p = bed_pages(2, 'o');
	struct hmmu_uring_req req, other;

	assert_int_equal(bed_write(&b, p + PAGE, PAGE, 0, &other), PAGE);
	bed_block(&b, p, 100, &req);
	bed_remap(&b, p + PAGE, 1, 'n');
	bed_feed(&b, 100, 'F');
	assert_int_equal(bed_finish(&b), 100);
	assert_int_equal(p[99], 'F');
	assert_int_equal(bed_stats(&b).cache.merged, 0);
	munmap(p, 2 * PAGE);
}

/* ... unless it asked for it. */
static void neighbours_merged(void **state)
{
	struct hmmu_uring_options o = HMMU_URING_DEFAULTS;
	unsigned char *p = bed_pages(2, 'o');
	struct hmmu_uring_req req, other;

	assert_int_equal(hmmu_uring_close(b.u), 0);
	o.max_merged = 2 * PAGE;
	assert_int_equal(hmmu_uring_open(&b.u, &b.ring, b.mm, &o), 0);
	assert_int_equal(bed_write(&b, p + PAGE, PAGE, 0, &other), PAGE);
	bed_block(&b, p, 100, &req);
	assert_int_equal(bed_stats(&b).cache.merged, 1);
	bed_reclaim(&b);
	assert_int_equal(bed_stats(&b).slots - bed_stats(&b).slots_free, 1);
	bed_remap(&b, p + PAGE, 1, 'n');
	bed_feed(&b, 100, 'F');
	assert_int_equal(bed_finish(&b), -ESTALE);
	munmap(p, 2 * PAGE);
}

/* A longer request takes the place of what is in use: not stale, as nothing has changed; but
 * it still hears of changes. */
static void replaced_in_flight(void **state)
{
	unsigned char *p = bed_pages(2, 'o');
	struct hmmu_uring_req req, longer;

	for (int changed = 0; changed < 2; changed++) {
		bed_block(&b, p, 100, &req);
		assert_int_equal(bed_write(&b, p, 2 * PAGE, 0, &longer), 2 * PAGE);
		assert_int_equal(bed_stats(&b).cache.replaced, 1 + changed);
		if (changed)
			bed_remap(&b, p, 1, 'n');
		bed_feed(&b, 100, 'F');
		assert_int_equal(bed_finish(&b), changed ? -ESTALE : 100);
		assert_int_equal(p[0], changed ? 'n' : 'F');
		assert_int_equal(hmmu_regcache_drop(hmmu_uring_cache(b.u), p, 2 * PAGE),
				 !changed);
		bed_reclaim(&b);
		assert_int_equal(bed_stats(&b).slots_free, 4);
	}
	munmap(p, 2 * PAGE);
}

/* Nothing was transferred: the errno says more than -ESTALE. */
static void cancelled_in_flight(void **state)
{
	unsigned char *p = bed_pages(1, 'o');
	struct hmmu_uring_req req;
	struct io_uring_cqe *cqe;

	bed_block(&b, p, 100, &req);
	bed_remap(&b, p, 1, 'n');
	io_uring_prep_cancel(io_uring_get_sqe(&b.ring), &req, 0);
	io_uring_sqe_set_data(&b.ring.sq.sqes[(b.ring.sq.sqe_tail - 1) & *b.ring.sq.kring_mask],
			      NULL);
	assert_int_equal(io_uring_submit_and_wait(&b.ring, 2), 1);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(io_uring_wait_cqe(&b.ring, &cqe), 0);
		if (io_uring_cqe_get_data(cqe))
			assert_int_equal(hmmu_uring_complete(b.u, &req, cqe->res), -ECANCELED);
		io_uring_cqe_seen(&b.ring, cqe);
	}
	assert_int_equal(bed_stats(&b).stale, 0);
	bed_reclaim(&b);
	assert_int_equal(bed_stats(&b).slots_free, 4);
	munmap(p, PAGE);
}

/* A number in an entry that the kernel has not seen yet means its buffer, whatever happens
 * to the memory and whoever wants slots meanwhile. */
static void remapped_before_submission(void **state)
{
	unsigned char *p = bed_pages(1, 'o'), *q = bed_pages(4, 'q');
	struct hmmu_uring_req req, other[4];
	struct io_uring_sqe *sqe = bed_prep_write(&b, p, PAGE, 0, &req);
	unsigned int slot = sqe->buf_index;

	bed_remap(&b, p, 1, 'n');
	bed_reclaim(&b);
	for (unsigned int i = 0; i < 4; i++) {
		sqe = bed_prep_write(&b, q + i * PAGE, PAGE, 4 + i, &other[i]);
		assert_true(other[i].kind == HMMU_URING_PLAIN || sqe->buf_index != slot);
	}
	assert_int_equal(other[2].kind, HMMU_URING_FIXED);
	assert_int_equal(other[3].kind, HMMU_URING_PLAIN);
	assert_int_equal(other[3].why, -ENOMEM);
	for (int stale = 0, i = 0; i < 5; i++) {
		int ret = bed_finish(&b);

		stale += ret == -ESTALE;
		assert_true(ret == -ESTALE ? stale == 1 : ret == PAGE);
		assert_true(i < 4 || stale == 1);
	}
	assert_int_equal(bed_file_byte(&b, 0), 'o');
	for (unsigned int i = 0; i < 4; i++)
		assert_int_equal(bed_file_byte(&b, 4 + i), 'q');
	munmap(p, PAGE);
	munmap(q, 4 * PAGE);
}

/* Never submitted: the reference goes as it came. */
static void given_up(void **state)
{
	unsigned char *p = bed_pages(1, 'o');
	struct hmmu_uring_req req;
	struct io_uring_sqe *sqe = bed_prep_write(&b, p, PAGE, 0, &req);

	io_uring_prep_nop(sqe);
	assert_int_equal(hmmu_uring_close(b.u), -EBUSY);
	assert_int_equal(hmmu_uring_complete(b.u, &req, -ECANCELED), -ECANCELED);
	assert_int_equal(hmmu_uring_complete(b.u, &req, -ECANCELED), -EINVAL);
	munmap(p, PAGE);
}

static void slots_exhausted(void **state)
{
	unsigned char *p = bed_pages(6, 0);
	struct hmmu_uring_req req[4], more;

	for (unsigned int i = 0; i < 4; i++) {
		bed_block(&b, p + i * PAGE, 10, &req[i]);
		assert_int_equal(req[i].kind, HMMU_URING_FIXED);
	}
	/* All in use: the plain operation, and the right bytes. */
	assert_int_equal(bed_read(&b, p + 4 * PAGE, PAGE, 4, &more), PAGE);
	assert_int_equal(p[4 * PAGE], 'e');
	assert_int_equal(bed_stats(&b).plain_room, 1);
	assert_int_equal(bed_stats(&b).plain, 1);
	bed_feed(&b, 40, 'F');
	for (int i = 0; i < 4; i++)
		assert_int_equal(bed_finish(&b), 10);
	/* None is in use: the least recently used goes. */
	assert_int_equal(bed_read(&b, p + 5 * PAGE, PAGE, 5, &more), PAGE);
	assert_int_equal(p[5 * PAGE], 'f');
	assert_int_equal(bed_stats(&b).plain, 1);
	assert_int_equal(bed_stats(&b).fixed, 5);
	assert_int_equal(bed_stats(&b).cache.evicted, 1);
	assert_int_equal(bed_stats(&b).slots_free, 0);
	munmap(p, 6 * PAGE);
}

/* It is the plain operation soon: whoever prepares may be who has to go on for the end to
 * come. This thread is, here. */
static void while_it_changes(void **state)
{
	unsigned char *p = bed_pages(1, 'o');
	unsigned long start = (unsigned long)p;
	struct mmu_notifier_range range;
	struct hmmu_uring_req req;

	assert_int_equal(bed_write(&b, p, PAGE, 0, &req), PAGE);
	mmu_notifier_range_init(&range, MMU_NOTIFY_UNMAP, MMU_NOTIFIER_RANGE_BLOCKABLE, b.mm,
				start, start + PAGE);
	assert_int_equal(mmu_notifier_invalidate_range_start(&range), 0);
	bed_prep_write(&b, p, PAGE, 1, &req);
	assert_int_equal(req.kind, HMMU_URING_PLAIN);
	assert_int_equal(req.why, -ETIMEDOUT);
	assert_int_equal(bed_finish(&b), PAGE);
	assert_int_equal(bed_file_byte(&b, 1), 'o');
	mmu_notifier_invalidate_range_end(&range);
	assert_int_equal(bed_stats(&b).plain_changing, 1);
	assert_int_equal(bed_write(&b, p, PAGE, 0, &req), PAGE);
	assert_int_equal(bed_stats(&b).fixed, 2);
	munmap(p, PAGE);
}

/* Many neighbouring slots are emptied, none is lost. */
static void all_at_once(void **state)
{
	unsigned char *p = bed_pages(4, 'o');
	struct hmmu_uring_req req;

	for (int round = 0; round < 3; round++) {
		for (unsigned int i = 0; i < 4; i++)
			assert_int_equal(bed_write(&b, p + i * PAGE, PAGE, i, &req), PAGE);
		assert_int_equal(bed_stats(&b).slots_free, 0);
		assert_int_equal(pinned_kb(), b.pinned + 16);
		bed_remap(&b, p, 4, 'n');
		bed_reclaim(&b);
		assert_int_equal(bed_stats(&b).slots_free, 4);
	}
	assert_int_equal(bed_stats(&b).emptied, 12);
	assert_int_equal(bed_stats(&b).plain, 0);
	munmap(p, 4 * PAGE);
}

/* Against the rules: the application takes the table away. No slot is kept for it. */
static void table_gone(void **state)
{
	unsigned char *p = bed_pages(1, 'o');
	struct hmmu_uring_req req;

	assert_int_equal(bed_write(&b, p, PAGE, 0, &req), PAGE);
	assert_int_equal(io_uring_unregister_buffers(&b.ring), 0);
	bed_remap(&b, p, 1, 'n');
	bed_reclaim(&b);
	assert_int_equal(bed_stats(&b).slots_free, 4);
	assert_int_equal(bed_stats(&b).slots_dead, 0);
	assert_int_equal(bed_write(&b, p, PAGE, 0, &req), PAGE);
	assert_int_equal(bed_stats(&b).plain_others, 1);
	assert_int_equal(bed_file_byte(&b, 0), 'n');
	munmap(p, PAGE);
}

/* What can be looked at is the cache's. */
static int describe(void *arg, const struct hmmu_region *region, const char *text)
{
	char want[32];

	snprintf(want, sizeof(want), "slot %u", (unsigned int)region->key[0]);
	assert_string_equal(text, want);
	++*(int *)arg;
	return 0;
}

static void walk(void **state)
{
	unsigned char *p = bed_pages(1, 'o');
	struct hmmu_uring_req req;
	int n = 0;

	assert_int_equal(bed_write(&b, p, PAGE, 0, &req), PAGE);
	assert_int_equal(hmmu_regcache_walk(hmmu_uring_cache(b.u), describe, &n), 0);
	assert_int_equal(n, 1);
	assert_int_equal(hmmu_regcache_drop(hmmu_uring_cache(b.u), p, PAGE), 1);
	bed_reclaim(&b);
	assert_int_equal(bed_stats(&b).slots_free, 4);
	munmap(p, PAGE);
}

#define each(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		each(hit_and_miss),
		each(entry),
		each(remapped_between),
		each(remapped_in_flight),
		each(neighbour_remapped),
		each(neighbours_merged),
		each(replaced_in_flight),
		each(cancelled_in_flight),
		each(remapped_before_submission),
		each(given_up),
		each(slots_exhausted),
		each(while_it_changes),
		each(all_at_once),
		each(table_gone),
		each(walk),
	};
	int refused = bed_refused();

	return refused ? refused : cmocka_run_group_tests(tests, NULL, NULL);
}
