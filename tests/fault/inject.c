// SPDX-License-Identifier: MIT
/* inject.c - see inject.h. */
#include "inject.h"

#include <errno.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include "arch/syscall.h"
#include "atomic.h"
#include "plants.h"

#define MAPS 512

struct fault_run *fault;

static struct held_map {
	uint64_t at, size;
} maps[MAPS];
static uint32_t maps_lock;
static uint32_t threads;

/* ---- which one fails ---------------------------------------------------- */

/* A wait that is broken off is made again: for ever means each second time. */
static bool spins(enum kind kind)
{
	return kind == KIND_FUTEX || kind == KIND_NANOSLEEP || kind == KIND_POLL;
}

static bool counts(enum fault_mode mode, enum kind kind)
{
	if (mode == FAULT_ONCE)
		return true;
	if (mode == FAULT_EVER && spins(kind))
		return false;
	return kind_errors(kind, true) != 0;
}

static bool fails(const struct fault_plan *plan, uint32_t n, enum kind kind)
{
	if (n == plan->n)
		return true;
	if (n < plan->n || !plan->n)
		return false;
	if (plan->mode == FAULT_KIND)
		return kind == hmmu_load_relaxed(&fault->kind) &&
		       hmmu_load_relaxed(&fault->hit) && (!spins(kind) || n % 2);
	return plan->mode == FAULT_EVER;
}

/* This one has been tried with a smaller number of its errno. */
static void leave(void)
{
	if (hmmu_syscall6(SYS_getpid, 0, 0, 0, 0, 0, 0) != fault->pid)
		return; /* others wait for it */
	fault->tried = fault->finished = fault->hit = 1;
	hmmu_syscall6(SYS_exit_group, 0, 0, 0, 0, 0, 0);
}

long fault_call_how(enum kind kind, const void *site, enum fault_how *how)
{
	const struct fault_plan *plan;
	bool ever;
	uint32_t n;
	int err;

	*how = HOW_NONE;
	if (!fault || kind == KIND_SURE || !hmmu_load_relaxed(&fault->armed))
		return 0;
	plan = &fault->plan;
	hmmu_add_seqcst(&fault->calls[kind], 1);
	if (!counts(plan->mode, kind))
		return 0;
	n = hmmu_add_seqcst(&fault->counted, 1) + 1;
	if (!fails(plan, n, kind))
		return 0;
	ever = plan->mode != FAULT_ONCE;
	if (n == plan->n && plan->each && plan->error >= kind_errors(kind, ever))
		leave();
	err = (ever ? kinds[kind].ever
		    : kinds[kind].once)[plan->error % kind_errors(kind, ever)];
	if (n == plan->n) {
		fault->kind = kind;
		fault->error = err;
		fault->site = site_of(site);
		hmmu_store_release(&fault->hit, 1);
	}
	hmmu_add_seqcst(&fault->fails, 1);
	if (err >= 0x1000) {
		*how = (enum fault_how)(err - 0x1000);
		return *how == HOW_AFTER ? -EINTR : 0;
	}
	return -err;
}

long fault_call(enum kind kind, const void *site)
{
	enum fault_how how;

	return fault_call_how(kind, site, &how);
}

void fault_arm(void)
{
	hmmu_store_seqcst(&fault->armed, 1);
}

void fault_disarm(void)
{
	hmmu_store_seqcst(&fault->armed, 0);
}

bool fault_fails(void)
{
	return hmmu_load_seqcst(&fault->armed) && hmmu_load_seqcst(&fault->hit) &&
	       fault->plan.mode != FAULT_ONCE;
}

struct timespec fault_deadline(double seconds)
{
	struct timespec ts;
	long ns;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	ns = ts.tv_nsec + (long)(seconds * 1e9);
	ts.tv_sec += ns / 1000000000;
	ts.tv_nsec = ns % 1000000000;
	return ts;
}

bool fault_failed(void)
{
	return hmmu_load_seqcst(&fault->hit);
}

/* ---- what the library holds --------------------------------------------- */

static void lock_maps(void)
{
	uint32_t none = 0;

	while (!hmmu_cas_acquire(&maps_lock, &none, 1))
		none = 0;
}

static void mapped(uint64_t at, uint64_t size)
{
	lock_maps();
	for (unsigned int i = 0; i < MAPS; i++)
		if (!maps[i].size) {
			maps[i] = (struct held_map){at, size};
			break;
		}
	hmmu_store_release(&maps_lock, 0);
}

static void unmapped(uint64_t at)
{
	lock_maps();
	for (unsigned int i = 0; i < MAPS; i++)
		if (maps[i].size && maps[i].at == at)
			maps[i].size = 0;
	hmmu_store_release(&maps_lock, 0);
}

void fault_maps(uint32_t *n, uint32_t *kilobytes)
{
	*n = *kilobytes = 0;
	for (unsigned int i = 0; i < MAPS; i++) {
		*n += maps[i].size != 0;
		*kilobytes += (uint32_t)(maps[i].size >> 10);
	}
}

void fault_thread_created(void)
{
	hmmu_add_seqcst(&threads, 1);
}

void fault_thread_gone(void)
{
	hmmu_add_seqcst(&threads, (uint32_t)-1);
}

int fault_threads(void)
{
	return (int)hmmu_load_seqcst(&threads);
}

/* ---- the hook ------------------------------------------------------------ */

static long make(long nr, const long *a, enum fault_how how)
{
	long len = a[2];

	if (how == HOW_SHORT && len > 1)
		len = len > 9 ? 9 : 1;
	/* A clone is made by who asked: it returns twice. */
	if (nr == SYS_clone)
		return 0;
	return hmmu_syscall6(nr, a[0], a[1], len, a[3], a[4], a[5]);
}

static long hook(long nr, const long args[6])
{
	const void *site = __builtin_return_address(0);
	bool app = nr != SYS_ioctl && nr != SYS_futex && nr != SYS_read &&
		   site_is_app(site_of(site));
	enum kind kind = kind_of(nr, args, app);
	enum fault_how how = HOW_NONE;
	long ret;

	if (app && !hmmu_load_relaxed(&fault->in_app))
		return hmmu_syscall6(nr, args[0], args[1], args[2], args[3], args[4], args[5]);
	if (plant_swallows(nr, args, &ret))
		return ret;
	ret = fault_call_how(kind, site, &how);
	/* What the kernel does not take back is not the library's to give. */
	if (ret && kind == KIND_MUNMAP)
		unmapped((uint64_t)args[0]);
	if (ret && how != HOW_AFTER)
		return ret;
	if (how == HOW_AFTER) {
		make(nr, args, how);
		return ret;
	}
	ret = make(nr, args, how);
	/* Trampolines have a place of their own; so has what the pool maps, without reserve. */
	if (!app && nr == SYS_mmap && !hmmu_is_err(ret) &&
	    (!(args[3] & MAP_FIXED_NOREPLACE) || (args[3] & MAP_NORESERVE)))
		mapped((uint64_t)ret, (uint64_t)args[1]);
	else if (!app && nr == SYS_munmap && !ret)
		unmapped((uint64_t)args[0]);
	return ret;
}

/* seccomp's gate: the call of the application's that is performed for it. */
long __real_hmmu_seccomp_gate(long nr, long a, long b, long c, long d, long e, long f);
long __wrap_hmmu_seccomp_gate(long nr, long a, long b, long c, long d, long e, long f);

long __wrap_hmmu_seccomp_gate(long nr, long a, long b, long c, long d, long e, long f)
{
	const long args[6] = {a, b, c, d, e, f};
	long ret = 0;

	if (fault && hmmu_load_relaxed(&fault->in_app))
		ret = fault_call(kind_of(nr, args, true), __builtin_return_address(0));
	if (!ret)
		ret = __real_hmmu_seccomp_gate(nr, a, b, c, d, e, f);
	/* Or refused: see hook(). */
	if (nr == SYS_munmap)
		unmapped((uint64_t)a);
	return ret;
}

void fault_init(struct fault_run *run)
{
	sites_read();
	fault = run;
	run->pid = (int32_t)hmmu_syscall6(SYS_getpid, 0, 0, 0, 0, 0, 0);
	hmmu_syscall_hook = hook;
}
