// SPDX-License-Identifier: MIT
/*
 * stuck.c - a kernel whose answer "something is unread" never ends.
 *
 * Some (6.1, 6.12) forget to take their count back when an mremap() fails: from then on each
 * probe of the context answers EAGAIN and no event comes. Readers of the truth, and hooked
 * calls that hand out an address, would wait for ever. So the source gives up: lost,
 * unwatched, everybody is told. But a healthy kernel may answer so for long:
 *
 *	a change under way	the count is up while its pages go, its event comes after: a
 *				munmap of a terabyte, or of somebody who gets no CPU
 *	a process that stood	nothing was read, for nobody ran
 *
 * Hence time is what was seen pass between two probes, STUCK_STEP at most each, and it is
 * counted twice: when STUCK_NS have passed without an event, the dispatcher takes the
 * kernel's lock of the mappings, once, which a change under way holds until its pages are
 * gone; then as much again. Any event that is read, or a clean answer, and it begins anew.
 *
 * States (stuck):	CLEAR -> FIRST -> ASKED -> SECOND -> lost
 *	CLEAR	the last answer was clean, or an event was read since
 *	FIRST	EAGAIN for stuck_time, with `stuck_marked` events read
 *	ASKED	the dispatcher is to wait for changes under way
 *	SECOND	as FIRST; none of those that were under way then is
 * Racing writers only lose some of the time: giving up late is as good.
 */
#include "source/userfaultfd/userfaultfd.h"

#include <errno.h>
#include <sys/mman.h>
#include <time.h>

#include "arch/syscall.h"

#define STUCK_NS 10000000000ULL
#define STUCK_STEP 10000000ULL

static uint64_t now(void)
{
	struct timespec ts = {0, 0};

	hmmu_syscall(SYS_clock_gettime, CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000ULL + (uint64_t)ts.tv_nsec;
}

static void begin(struct hmmu_uffd *u, uint64_t marked)
{
	hmmu_store_relaxed(&u->stuck_marked, marked);
	hmmu_store_relaxed(&u->stuck_time, 0);
	hmmu_store_relaxed(&u->stuck_last, now());
	hmmu_store_relaxed(&u->stuck, STUCK_FIRST);
}

/* One more EAGAIN. True: the time of this state is over. */
static bool passed(struct hmmu_uffd *u)
{
	uint64_t t = now(), step = t - hmmu_load_relaxed(&u->stuck_last);
	uint64_t time = hmmu_load_relaxed(&u->stuck_time);

	time += step < STUCK_STEP ? step : STUCK_STEP;
	hmmu_store_relaxed(&u->stuck_last, t);
	hmmu_store_relaxed(&u->stuck_time, time);
	return time > STUCK_NS;
}

static bool stuck(struct hmmu_uffd *u)
{
	uint64_t marked = hmmu_load_relaxed(&u->marked);
	uint32_t state = hmmu_load_relaxed(&u->stuck);

	if (state == STUCK_CLEAR || hmmu_load_relaxed(&u->stuck_marked) != marked) {
		begin(u, marked);
		return false;
	}
	if (state == STUCK_ASKED || !passed(u))
		return false;
	if (state == STUCK_SECOND)
		return true;
	if (hmmu_cas_seqcst(&u->stuck, &state, STUCK_ASKED))
		hmmu_uffd_poke(u);
	return false;
}

void hmmu_uffd_wait_changes(struct hmmu_uffd *u)
{
	uint32_t asked = STUCK_ASKED;

	if (hmmu_load_relaxed(&u->stuck) != STUCK_ASKED)
		return;
	/* Changes nothing, under the lock. */
	hmmu_syscall(SYS_mprotect, u->stop_page, UFFD_PAGE, PROT_NONE);
	hmmu_store_relaxed(&u->stuck_time, 0);
	hmmu_store_relaxed(&u->stuck_last, now());
	hmmu_cas_seqcst(&u->stuck, &asked, STUCK_SECOND);
}

int hmmu_uffd_settle(struct hmmu_uffd *u)
{
	int ret = hmmu_uffd_probe(u);

	if (__builtin_expect(ret != -EAGAIN, 1)) {
		if (__builtin_expect(hmmu_load_relaxed(&u->stuck) != STUCK_CLEAR, 0))
			hmmu_store_relaxed(&u->stuck, STUCK_CLEAR);
		return ret;
	}
	/* A vfork child may be killed in the middle of telling. */
	if (!stuck(u) || hmmu_syscall(SYS_getpid) != u->pid)
		return -EAGAIN;
	hmmu_store_relaxed(&u->leaked, 1);
	hmmu_uffd_lose(u);
	return -ENODEV;
}
