// SPDX-License-Identifier: MIT
/*
 * serve.c - one call, between start and end, in its caller's place.
 *
 * ftruncate, truncate, fallocate and MADV_REMOVE: the file's mappings are looked up before the
 * call, and again after it. What was mapped in between, by a call that is concurrent with this
 * one, was not bracketed; it is told before this one returns. MADV_REMOVE looks for the files
 * that it noted before, which may be unmapped there by now. As src/source/hooks/file.c.
 *
 * process_madvise's vector is copied: the kernel must be given what was bracketed, whatever
 * another thread writes there meanwhile.
 */
#include <errno.h>
#include <linux/audit.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <unistd.h>

#include "arch/syscall.h"
#include "atomic.h"
#include "source/hooks/hooks.h"
#include "source/seccomp/seccomp.h"
#include "tls.h"

#define SHORT (2UL << 20) /* bytes */
#define VECTOR_MAX 1024	  /* UIO_MAXIOV: more are refused */

struct call {
	int nr;
	int fd_arg;
	bool own_fd;
	int file;   /* its pages go; negative: none's do */
	int answer; /* not 0: known without the call */
	struct hmmu_seccomp_opened opened;
	uint64_t args[6];
	struct hmmu_seccomp_change change;
	struct hmmu_source_event ev[3]; /* the last is told late */
	struct iovec vector[VECTOR_MAX];
};

void hmmu_seccomp_answer(struct hmmu_seccomp_slot *slot, long ret)
{
	slot->resp = (struct seccomp_notif_resp){.id = slot->notif.id};
	if (hmmu_is_err(ret))
		slot->resp.error = (int)ret;
	else
		slot->resp.val = ret;
}

void hmmu_seccomp_continue(struct hmmu_seccomp_slot *slot)
{
	slot->resp = (struct seccomp_notif_resp){
		.id = slot->notif.id,
		.flags = SECCOMP_USER_NOTIF_FLAG_CONTINUE,
	};
}

/* A vector that cannot be read stays unreadable: the kernel says what is wrong with it. */
static void copy_vector(struct call *call)
{
	struct iovec here = {call->vector, 0}, there = {(void *)call->args[1], 0};

	call->vector[0] = (struct iovec){0};
	if (call->args[2] > VECTOR_MAX)
		call->args[2] = VECTOR_MAX + 1;
	else
		here.iov_len = there.iov_len = call->args[2] * sizeof(struct iovec);
	if (here.iov_len && hmmu_syscall(SYS_process_vm_readv, getpid(), &here, 1, &there, 1,
					 0) != (long)here.iov_len)
		call->args[1] = 0;
	else
		call->args[1] = (uint64_t)call->vector;
}

/* truncate's path becomes one that leads to what is open. A negative length is refused
 * before the path is looked at. */
static int prepare_path(struct call *call, int caller)
{
	int err;

	if ((int64_t)call->args[1] < 0)
		return 0;
	err = hmmu_seccomp_open_path(caller, (const char *)call->args[0], &call->opened);
	if (err == -EOPNOTSUPP)
		return err;
	call->answer = err;
	if (!err)
		call->file = call->opened.fd;
	call->args[0] = (uint64_t)call->opened.name;
	return 0;
}

static int prepare_fd(struct call *call, int caller)
{
	int fd;

	call->fd_arg = hmmu_seccomp_fd_arg(call->nr, call->args[3]);
	if (call->fd_arg < 0)
		return 0;
	fd = hmmu_seccomp_fd(caller, (int)call->args[call->fd_arg], &call->own_fd);
	if (fd == -EOPNOTSUPP)
		return fd;
	call->args[call->fd_arg] = (uint64_t)(fd < 0 ? -1 : fd);
	if (call->nr == SYS_ftruncate || call->nr == SYS_fallocate)
		call->file = fd;
	return 0;
}

/* The call as this thread can make it. -EOPNOTSUPP: it cannot. */
static int prepare(struct call *call, const struct hmmu_seccomp_slot *slot)
{
	struct hmmu_seccomp_change *c = &call->change;
	int err;

	call->nr = slot->notif.data.nr;
	call->own_fd = false;
	call->file = call->opened.fd = -1;
	call->answer = 0;
	for (int i = 0; i < 6; i++)
		call->args[i] = slot->notif.data.args[i];
	err = prepare_fd(call, (int)slot->notif.pid);
	if (!err && call->nr == SYS_truncate)
		err = prepare_path(call, (int)slot->notif.pid);
	if (err)
		return err;
	if (call->nr == SYS_process_madvise)
		copy_vector(call);
	hmmu_seccomp_ranges(call->nr, call->args, c);
	if (call->file >= 0) {
		c->range[0].event = MMU_NOTIFY_CLEAR;
		hmmu_seccomp_mapped(call->file, &c->range[0].start, &c->range[0].end);
		c->n = c->range[0].start < c->range[0].end;
	}
	return 0;
}

static void begin(struct call *call)
{
	struct hmmu_seccomp_change *c = &call->change;

	if (HMMU_SECCOMP_PLANTED(NO_START))
		c->n = 0;
	for (unsigned int i = 0; i < c->n; i++)
		hmmu_source_start(&call->ev[i], c->range[i].event, c->range[i].start,
				  c->range[i].end);
}

static void finish(struct call *call)
{
	for (unsigned int i = call->change.n; i > 0; i--)
		hmmu_source_end(&call->ev[i - 1]);
	call->change.n = 0;
}

static long perform(struct call *call)
{
	const uint64_t *a = call->args;

	if (call->answer)
		return call->answer;
	return hmmu_seccomp_gate(call->nr, (long)a[0], (long)a[1], (long)a[2], (long)a[3],
				 (long)a[4], (long)a[5]);
}

static bool has(const struct hmmu_seccomp_change *c, unsigned long start, unsigned long end)
{
	for (unsigned int i = 0; i < c->n; i++)
		if (c->range[i].start <= start && end <= c->range[i].end)
			return true;
	return false;
}

/* The file was mapped somewhere else while its pages went. */
static void tell_late(struct call *call)
{
	struct hmmu_seccomp_change *c = &call->change;
	unsigned long start, end;

	if (has(c, 0, HMMU_TOP))
		return;
	if (call->file >= 0)
		hmmu_seccomp_mapped(call->file, &start, &end);
	else if (c->n && ((call->nr == SYS_madvise && call->args[2] == MADV_REMOVE) ||
			  (call->nr == SYS_process_madvise && call->args[3] == MADV_REMOVE)))
		hmmu_seccomp_shown(&c->files, c->range[0].start, c->range[0].end, &start, &end);
	else
		return;
	if (start >= end || has(c, start, end))
		return;
	hmmu_source_start(&call->ev[2], MMU_NOTIFY_CLEAR, start, end);
	hmmu_source_end(&call->ev[2]);
}

/* False: the guard was faster. */
static bool claim(struct hmmu_seccomp *sup, struct hmmu_seccomp_slot *slot)
{
	bool mine;

	hmmu_lock(&sup->lock);
	mine = slot->state == SLOT_SEC_STARTING;
	if (mine)
		slot->state = SLOT_SEC_PERFORMING;
	hmmu_unlock(&sup->lock);
	return mine;
}

/* The descriptors that are this call's own. */
static void close_own(struct call *call)
{
	if (call->own_fd)
		hmmu_syscall(SYS_close, call->args[call->fd_arg]);
	hmmu_seccomp_close_path(&call->opened);
}

int hmmu_seccomp_serve(struct hmmu_seccomp *sup, struct hmmu_seccomp_slot *slot)
{
	struct call call;
	int err = prepare(&call, slot);
	long ret;

	if (err)
		return err;
	if (call.change.n)
		hmmu_add_seqcst(&sup->served, 1);
	begin(&call);
	if (!claim(sup, slot)) {
		err = -ECANCELED;
	} else if (call.opened.fd >= 0 && !hmmu_seccomp_still(&call.opened)) {
		err = -EOPNOTSUPP; /* the application closed it */
	} else {
		if (HMMU_SECCOMP_PLANTED(END_EARLY))
			finish(&call);
		ret = perform(&call);
		tell_late(&call);
		hmmu_seccomp_answer(slot, ret);
	}
	finish(&call);
	close_own(&call);
	return err;
}

/* Short, with no descriptor: the receiver must not be kept from receiving. */
static bool is_short(const struct seccomp_data *d)
{
	if (d->arch != AUDIT_ARCH_X86_64)
		return false;
	switch (d->nr) {
	case SYS_mmap:
		return (d->args[3] & MAP_ANONYMOUS) && !(d->args[3] & MAP_POPULATE) &&
		       d->args[1] <= SHORT;
	case SYS_madvise:
		return (d->args[2] == MADV_DONTNEED || d->args[2] == MADV_FREE) &&
		       d->args[1] <= SHORT;
	case SYS_munmap:
	case SYS_mprotect:
	case SYS_pkey_mprotect:
		return d->args[1] <= SHORT;
	default:
		return false;
	}
}

bool hmmu_seccomp_serve_quiet(struct hmmu_seccomp *sup, struct hmmu_seccomp_slot *slot)
{
	const struct seccomp_data *d = &slot->notif.data;
	struct hmmu_seccomp_change c;
	struct hmmu_source_event ev;
	uint64_t args[6];

	if (HMMU_SECCOMP_PLANTED(NO_START) || HMMU_SECCOMP_PLANTED(END_EARLY) || !is_short(d))
		return false;
	for (int i = 0; i < 6; i++)
		args[i] = d->args[i];
	hmmu_seccomp_ranges(d->nr, args, &c);
	if (c.n &&
	    !hmmu_source_start_quiet(&ev, c.range[0].event, c.range[0].start, c.range[0].end))
		return false;
	hmmu_add_seqcst(&sup->served, 1);
	/* The keeper must know that it may have been done. */
	hmmu_store_release(&slot->state, SLOT_SEC_PERFORMING);
	hmmu_seccomp_answer(slot, hmmu_seccomp_gate(d->nr, (long)args[0], (long)args[1],
						    (long)args[2], (long)args[3], (long)args[4],
						    (long)args[5]));
	hmmu_store_release(&slot->state, SLOT_SEC_DONE);
	if (c.n)
		hmmu_source_end(&ev);
	return true;
}

bool hmmu_seccomp_serve_undecided(struct hmmu_seccomp_slot *slot)
{
	/* Any address: start only asks whether this thread is inside a lock of hmmu's. */
	static uint64_t nobody[8];
	struct call call;

	if (hmmu_seccomp_needs_table(slot->notif.data.nr, slot->notif.data.args[3]))
		return false;
	prepare(&call, slot);
	hmmu_tls.held = (struct mm_struct *)nobody;
	hmmu_signal_fence();
	begin(&call);
	hmmu_seccomp_answer(slot, perform(&call));
	finish(&call);
	hmmu_signal_fence();
	hmmu_tls.held = NULL;
	return true;
}
