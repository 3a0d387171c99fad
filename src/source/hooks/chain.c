// SPDX-License-Identifier: MIT
/*
 * chain.c - another library has patched the same entry.
 *
 *	it came first			its jump is replaced by ours; the replacement calls
 *					its handler, with our start before and our end after,
 *					instead of the system call
 *	it came after us		its jump lies over ours, and no call of libc's comes
 *					by: hmmu_hooks_intact() sees it; the next open() (or
 *					hmmu_hooks_restore()) puts ours over it, as above
 *
 * What is known of them (UCX: src/ucm/mmap/install.c, ucm_mmap_install();
 * src/ucm/util/replace.c, ucm_orig_*(); libfabric: prov/util/src/util_mem_hooks.c,
 * ofi_intercept_*()): a handler tells its own, then makes the raw system call through
 * syscall(), which nobody patches; it keeps nothing of the displaced code. So there is one
 * way to serve both: outside of it. A handler that did keep the old entry enters us once
 * more by our own jump:
 *
 *	replacement(X): start; handler(X); end
 *				handler: ...; old entry = replacement(X): nested
 *						[Required: bare, no second bracket]
 *
 * A call that a handler makes of its own (it frees a structure: munmap(Y)) is another
 * change: bracketed, and told to the handler as it would be without us. What tells the two
 * apart is the arguments.
 *
 * mremap with a fifth argument is not given to a handler: UCX up to 1.13 has four (see
 * ucm_mremap(), src/ucm/event/event.c), and moves the pages to wherever a register points. It
 * is told of the source, and of the destination, which nobody else tells, by a call that leaves
 * them as they are; the move is made here.
 *
 * Where two others have patched one after the other, the one on top is chained to. It had
 * cut off the other already.
 *
 * A library that takes its patch back (libfabric, ofi_remove_patch()) writes what it once
 * found: libc's code, or our jump. The first is seen as if it had patched; in both cases it
 * may be called once more, so that it is never unloaded (hmmu_chain_pin()).
 *
 * Context: as a replacement; what the handler does there is its own affair.
 */
#include <dlfcn.h>
#include <errno.h>
#include <sys/mman.h>

#include "arch/syscall.h"
#include "atomic.h"
#include "source/hooks/hooks.h"

#ifndef MREMAP_DONTUNMAP
#define MREMAP_DONTUNMAP 4
#endif
#define TELLING 5 /* arguments that all of the calls have, or pass as 0 */

/* A handler that runs in this thread, called by us; the innermost first. */
struct frame {
	const struct hmmu_change *change;
	const struct frame *outer;
};

static __thread const struct frame *inside __attribute__((tls_model("initial-exec")));

void *hmmu_hook_foreign[HMMU_HOOK_NR];

/* Called as they are declared: a variadic call passes more than its arguments. */
typedef long wide_handler(long, ...);
typedef int handler(long, ...);

HMMU_HOOK static bool same(const struct hmmu_change *a, const struct hmmu_change *b)
{
	if (a->hook != b->hook)
		return false;
	for (int i = 0; i < TELLING; i++)
		if (a->arg[i] != b->arg[i])
			return false;
	return true;
}

HMMU_HOOK bool hmmu_chain_nested(const struct hmmu_change *change)
{
	if (HMMU_HOOK_PLANTED(NESTED_TWICE))
		return false;
	for (const struct frame *f = inside; f; f = f->outer)
		if (same(f->change, change))
			return true;
	return false;
}

HMMU_HOOK static long call(const struct hmmu_change *change, void *foreign)
{
	struct frame frame = {change, inside};
	const long *a = change->arg;
	int saved = errno, err;
	long ret;

	inside = &frame;
	hmmu_signal_fence();
	errno = 0;
	if (hmmu_hook_info[change->hook].wide)
		ret = ((wide_handler *)foreign)(a[0], a[1], a[2], a[3], a[4], a[5]);
	else
		ret = ((handler *)foreign)(a[0], a[1], a[2], a[3], a[4], a[5]);
	err = errno;
	errno = saved;
	hmmu_signal_fence();
	inside = frame.outer;
	if (ret != -1)
		return ret;
	return err ? -err : -EINVAL;
}

/* Have the handler told of [start, start + len) by a call that changes nothing. */
HMMU_HOOK static void tell_remap(void *foreign, long start, long len)
{
	struct hmmu_change c;

	hmmu_change(&c, HMMU_HOOK_MREMAP, SYS_mremap, start, len, len, 0);
	call(&c, foreign);
}

HMMU_HOOK long hmmu_chain_call(const struct hmmu_change *change, void *foreign)
{
	const long *a = change->arg;

	if (change->hook != HMMU_HOOK_MREMAP || !(a[3] & (MREMAP_FIXED | MREMAP_DONTUNMAP)))
		return call(change, foreign);
	tell_remap(foreign, a[0], a[1]);
	if (a[3] & MREMAP_FIXED)
		tell_remap(foreign, a[4], a[2]);
	return hmmu_syscall(SYS_mremap, a[0], a[1], a[2], a[3], a[4]);
}

void hmmu_chain_pin(const void *foreign)
{
	Dl_info where;

	/* The program itself cannot be named so, and needs not. */
	if (dladdr(foreign, &where) && where.dli_fname)
		dlopen(where.dli_fname, RTLD_LAZY | RTLD_NOLOAD | RTLD_NODELETE);
	dlerror();
}
