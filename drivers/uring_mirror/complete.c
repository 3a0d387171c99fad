// SPDX-License-Identifier: MIT
/* complete.c - submit, reap, and the check at completion (G1's last sentence). */
#include "mirror.h"

#include <errno.h>
#include <unistd.h>

static void mark_done(struct uring_mirror *m, struct uring_access *a, int result)
{
	a->result = result;
	a->window->busy--;
	m->slots[entry_slot(a->entry)].busy--;
	a->next = NULL;
	*m->done_tail = a;
	m->done_tail = &a->next;
}

/*
 * The request has completed: its bytes lie in staging, or in the pinned block. Are
 * they from, or in, the memory that was there during all of the access? (table.c: good())
 */
static void finish(struct uring_mirror *m, struct uring_access *a, int res)
{
	bool good = m->coherence->good(a);

	m->flying--;
	/*
	 * -EFAULT: the slot was emptied between queueing and submitting. Nothing was
	 * transferred; look up again.
	 */
	if (!good || res == -EFAULT) {
		m->stats.discarded++;
		m->stats.raced += (a->flags & URING_WRITE) != 0;
		res = res == -ECANCELED ? res : -ESTALE;
	} else if (res >= 0 && !(a->flags & URING_AT_FD) && (unsigned int)res != a->len) {
		res = -EIO;
	}
	mark_done(m, a, res);
}

/* Never sleeps. Tags free slots; accesses go to the done list. */
void reap_ready(struct uring_mirror *m)
{
	struct io_uring_cqe *cqe;
	unsigned int head, n = 0;

	io_uring_for_each_cqe(&m->ring, head, cqe)
	{
		n++;
		if (cqe->user_data == CANCEL_DATA)
			continue;
		if (cqe->user_data & TAG_BIT)
			slot_tag(m, cqe->user_data);
		else
			finish(m, (struct uring_access *)(uintptr_t)cqe->user_data, cqe->res);
	}
	io_uring_cq_advance(&m->ring, n);
}

bool time_left(const struct timespec *deadline, struct __kernel_timespec *left)
{
	struct __kernel_timespec t;
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	t.tv_sec = deadline->tv_sec - now.tv_sec;
	t.tv_nsec = deadline->tv_nsec - now.tv_nsec;
	if (t.tv_nsec < 0) {
		t.tv_nsec += 1000000000;
		t.tv_sec--;
	}
	if (left)
		*left = t;
	return t.tv_sec >= 0 && (t.tv_sec || t.tv_nsec);
}

/* Sleeps until something completes, a tag included, then reaps what is there. */
int reap_wait(struct uring_mirror *m, const struct timespec *deadline)
{
	struct __kernel_timespec left;
	struct io_uring_cqe *cqe;
	int ret;

	do {
		ret = io_uring_peek_cqe(&m->ring, &cqe);
		if (!ret)
			break;
		if (deadline && !time_left(deadline, &left))
			return -ETIMEDOUT;
		ret = deadline ? io_uring_wait_cqe_timeout(&m->ring, &cqe, &left)
			       : io_uring_wait_cqe(&m->ring, &cqe);
	} while (ret == -EINTR || ret == -EAGAIN);
	if (ret)
		return ret == -ETIME ? -ETIMEDOUT : ret;
	reap_ready(m);
	return 0;
}

/*
 * What was queued and never submitted: no request is made of it. The ring may have
 * been told of the entries already (a submit that failed), so they cannot be taken
 * back; they become no-ops.
 */
void queue_abandon(struct uring_mirror *m)
{
	struct io_uring_sq *sq = &m->ring.sq;
	struct uring_access *a;

	for (unsigned int i = 1; i <= m->queued; i++) {
		struct io_uring_sqe *sqe = &sq->sqes[(sq->sqe_tail - i) & sq->ring_mask];

		io_uring_prep_nop(sqe);
		sqe->user_data = CANCEL_DATA;
	}
	m->nops += m->queued;
	while ((a = m->queue)) {
		m->queue = a->next;
		m->queued--;
		mark_done(m, a, -ECANCELED);
	}
	m->queue_tail = &m->queue;
}

/* The ring took @n entries, no-ops first: they are the oldest. */
static int submitted(struct uring_mirror *m, unsigned int n)
{
	unsigned int nops = n < m->nops ? n : m->nops;

	m->nops -= nops;
	n -= nops;
	m->queued -= n;
	m->flying += n;
	for (unsigned int i = 0; i < n; i++)
		m->queue = m->queue->next;
	if (!m->queue)
		m->queue_tail = &m->queue;
	return (int)n;
}

int uring_mirror_submit(struct uring_mirror *m)
{
	int total = 0, ret;

	if (getpid() != m->pid)
		return -ENODEV;
	/* Also no-ops alone: they take up places. */
	while (m->queued || m->nops) {
		ret = io_uring_submit(&m->ring);
		if (ret == -EINTR)
			continue;
		if (ret <= 0)
			return total ? total : ret;
		total += submitted(m, (unsigned int)ret);
	}
	return total;
}

int uring_mirror_reap(struct uring_mirror *m, struct uring_access **done,
		      const struct timespec *deadline)
{
	int n = 0, ret = 0;

	if (getpid() != m->pid)
		return -ENODEV;
	slots_sweep(m);
	reap_ready(m);
	while (!m->done && m->flying && !ret)
		ret = reap_wait(m, deadline);
	*done = m->done;
	for (struct uring_access *a = m->done; a; a = a->next)
		n++;
	m->done = NULL;
	m->done_tail = &m->done;
	return n ? n : ret;
}

static bool passed(const struct timespec *deadline)
{
	return deadline && !time_left(deadline, NULL);
}

/* Those still to do: ->result == -EINPROGRESS. Queue as many as go. */
static void run_prep(struct uring_mirror *m, struct uring_access *a, unsigned int n,
		     const struct timespec *deadline)
{
	for (unsigned int i = 0; i < n; i++) {
		int ret;

		if (a[i].result != -EINPROGRESS)
			continue;
		ret = uring_mirror_prep(m, &a[i], deadline);
		if (!ret || ret == -EAGAIN)
			a[i].result = -EINPROGRESS;
		if (ret == -EAGAIN)
			return;
	}
}

/* Submit and reap everything. What is to be repeated says -EINPROGRESS again. */
static int run_turn(struct uring_mirror *m, const struct timespec *deadline)
{
	struct uring_access *done;
	int ret = uring_mirror_submit(m);

	if (ret < 0) {
		queue_abandon(m);
		/* They are the caller's again, who may be about to return. */
		m->done = NULL;
		m->done_tail = &m->done;
		return ret;
	}
	while (m->flying || m->done) {
		ret = uring_mirror_reap(m, &done, NULL);
		if (ret < 0)
			return ret;
		for (; done; done = done->next) {
			if (done->result != -ESTALE || (done->flags & URING_WRITE))
				continue;
			/* A read that was overtaken: its bytes are thrown away. */
			done->result = passed(deadline) ? -ETIMEDOUT : -EINPROGRESS;
			m->stats.repeated += done->result == -EINPROGRESS;
		}
	}
	return 0;
}

int uring_mirror_run(struct uring_mirror *m, struct uring_access *a, unsigned int n,
		     const struct timespec *deadline)
{
	int ret = 0;

	if (n > m->depth || m->queued || m->flying)
		return -EINVAL;
	for (unsigned int i = 0; i < n; i++) {
		a[i].index = i;
		a[i].result = -EINPROGRESS;
		if ((a[i].flags & URING_AT_FD) || !access_fits(m, &a[i]))
			return -EINVAL;
	}
	for (unsigned int i = 0; i < n && !ret;) {
		if (a[i].result != -EINPROGRESS) {
			i++;
			continue;
		}
		run_prep(m, a, n, deadline);
		ret = run_turn(m, deadline);
	}
	return ret;
}
