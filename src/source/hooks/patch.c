// SPDX-License-Identifier: MIT
/*
 * patch.c - libc's entries are diverted while other threads run them.
 *
 *	entry:	jmp rel32 -----> trampoline: lea stack(%rsp),%rsp -----> hmmu_hook_*()
 *				 jmp *target
 *
 * The trampolines are a page of their own within 2 GiB of libc, complete and
 * executable before the first jump is stored. Where in an entry, and why one store is
 * safe there, is in arch/x86_64_patch.h. Patched once, never taken back: a thread may
 * be anywhere, and another library may have patched over it since.
 *
 * THE RACE, for munmap's `mov $11,%eax ; syscall ; cmp ...`
 *
 *	a thread in munmap			the patcher
 *	------------------			-----------
 *	fetches entry: the old mov
 *						stores jmp over the mov
 *	syscall at entry + 5: untouched
 *	  returns to entry + 7: untouched	membarrier: no CPU keeps the old word
 *	ret
 *	next call: fetches the jmp		open() goes on
 *
 *	Either word is one whole instruction to whoever fetches it. A 13-byte jump
 *	would have put its second half where the syscall returns to.
 *
 * THE OTHER RACE: a thread that fetched the old mov is inside its call when open()
 * returns, and nobody brackets that call. quiesce.c waits for it.
 *
 * The page that is written becomes writable and executable for the moment: it can
 * never be without execution, other threads are in it. A policy that refuses this
 * (SELinux execmod, a seccomp filter) is no error: the operation is interposed
 * instead. The store is a compare-and-swap against the word that was decoded: another
 * patcher that came in between wins and ours is refused.
 */
#include <errno.h>
#include <linux/membarrier.h>
#include <sys/mman.h>

#include "arch/patch.h"
#include "arch/syscall.h"
#include "source/hooks/hooks.h"
#include "source/hooks/maps.h"

#ifndef MAP_FIXED_NOREPLACE
#define MAP_FIXED_NOREPLACE 0x100000
#endif
#define LOWEST 0x100000UL /* above any vm.mmap_min_addr */
#define TRIES 8

struct plan {
	uint8_t *at; /* NULL: not this one */
	uint64_t old;
	unsigned int stack;
	uint8_t *trampoline;
};

static bool reaches(const void *a, const void *b)
{
	intptr_t d = (intptr_t)a - (intptr_t)b;

	return d < HMMU_PATCH_REACH && d > -HMMU_PATCH_REACH;
}

static bool is_stack(const char *name)
{
	return name[0] == '[' && name[1] == 's' && name[2] == 't';
}

/* The free page below some mapping that is nearest to @near; 0: none. Not below the
 * stack, which grows, and so never right above the heap unless the gap is one page. */
HMMU_HOOK static unsigned long nearest_gap(unsigned long near)
{
	struct hmmu_maps maps;
	struct hmmu_mapping m;
	unsigned long best = 0, last = LOWEST, distance = ~0UL;

	if (!hmmu_maps_open(&maps))
		return 0;
	while (hmmu_maps_next(&maps, &m)) {
		unsigned long page = m.start - HMMU_PAGE;
		unsigned long d = page > near ? page - near : near - page;

		if (m.start >= last + 2 * HMMU_PAGE && !is_stack(m.name) && d < distance) {
			best = page;
			distance = d;
		}
		last = m.end > last ? m.end : last;
	}
	hmmu_maps_close(&maps);
	return best;
}

static uint8_t *trampoline_page(const void *near)
{
	for (int i = 0; i < TRIES; i++) {
		unsigned long gap = nearest_gap((unsigned long)near);
		long page;

		if (!gap)
			return NULL;
		page = hmmu_syscall(SYS_mmap, gap, HMMU_PAGE, PROT_READ | PROT_WRITE,
				    MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
		if (!hmmu_is_err(page) && reaches((void *)page, near))
			return (uint8_t *)page;
		if (!hmmu_is_err(page))
			hmmu_syscall(SYS_munmap, page, HMMU_PAGE);
		else if (page != -EEXIST)
			return NULL;
	}
	return NULL;
}

/* The protection of the page at @addr; -1: not known. */
HMMU_HOOK static int protection(unsigned long addr)
{
	struct hmmu_maps maps;
	struct hmmu_mapping m;
	int prot = -1;

	if (!hmmu_maps_open(&maps))
		return -1;
	while (prot < 0 && hmmu_maps_next(&maps, &m))
		if (addr >= m.start && addr < m.end)
			prot = m.prot;
	hmmu_maps_close(&maps);
	return prot;
}

/* NULL, or why the word was not stored. */
HMMU_HOOK static const char *store_word(const struct plan *plan, uint64_t word)
{
	unsigned long page = (unsigned long)plan->at & -HMMU_PAGE;
	uint64_t *p = (uint64_t *)((unsigned long)plan->at & -8UL);
	int prot = protection(page);
	const char *why = NULL;

	if (prot < 0 || !(prot & PROT_EXEC))
		return "its page is not known to be code";
	if (hmmu_syscall(SYS_mprotect, page, HMMU_PAGE, PROT_READ | PROT_WRITE | PROT_EXEC))
		return "the system refuses to make libc's code writable";
	if (!hmmu_patch_store(p, plan->old, word))
		why = HMMU_PATCH_FOREIGN;
	else
		hmmu_patch_forget(p, sizeof(*p));
	hmmu_syscall(SYS_mprotect, page, HMMU_PAGE, prot);
	return why;
}

/* What can be patched, and where. mmap64 shares mmap's entry, sbrk calls brk's. */
HMMU_HOOK static unsigned int make_plan(struct plan *plan)
{
	bool alone = hmmu_hooks_threads() == 1;
	unsigned int n = 0;

	for (int i = 0; i < HMMU_HOOK_NR; i++) {
		struct hmmu_hook_info *info = &hmmu_hook_info[i];
		struct hmmu_patch_site site;

		plan[i].at = NULL;
		if (info->written || i == HMMU_HOOK_SBRK || i == HMMU_HOOK_MMAP64)
			continue;
		info->why = info->entry ? hmmu_patch_find(info->entry, alone, &site)
					: "libc's own is not known";
		if (info->why)
			continue;
		plan[i].at = (uint8_t *)info->entry + site.offset;
		plan[i].old = *(uint64_t *)((unsigned long)plan[i].at & -8UL);
		plan[i].stack = HMMU_HOOK_PLANTED(NO_STACK) ? 0 : site.stack;
		n++;
	}
	return n;
}

static void refuse(const struct plan *plan, const char *why)
{
	for (int i = 0; i < HMMU_HOOK_NR; i++)
		if (plan[i].at && !hmmu_hook_info[i].written)
			hmmu_hook_info[i].why = why;
}

/* Fills the page. False: nothing of it can be used. */
static bool write_trampolines(struct plan *plan, uint8_t *page)
{
	_Static_assert(HMMU_HOOK_NR * HMMU_TRAMPOLINE_BYTES <= HMMU_PAGE, "one page");

	for (int i = 0; i < HMMU_HOOK_NR; i++) {
		uint8_t *to = page + i * HMMU_TRAMPOLINE_BYTES;

		if (!plan[i].at)
			continue;
		hmmu_trampoline_write(to, plan[i].stack, hmmu_hook_info[i].replacement);
		plan[i].trampoline = to;
	}
	return !hmmu_syscall(SYS_mprotect, page, HMMU_PAGE, PROT_READ | PROT_EXEC);
}

HMMU_HOOK static unsigned int store_all(const struct plan *plan)
{
	unsigned int n = 0;

	for (int i = 0; i < HMMU_HOOK_NR; i++) {
		struct hmmu_hook_info *info = &hmmu_hook_info[i];

		if (!plan[i].at)
			continue;
		if (!reaches(plan[i].at, plan[i].trampoline))
			info->why = "it is too far from the others";
		else
			info->why = store_word(&plan[i],
					       hmmu_patch_word(plan[i].at, plan[i].trampoline));
		info->written = !info->why;
		n += info->written;
	}
	return n;
}

static void patch_all(struct plan *plan)
{
	uint8_t *page;

	if (hmmu_syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED_SYNC_CORE,
			 0)) {
		refuse(plan, "the system has no membarrier for code");
		return;
	}
	page = trampoline_page(hmmu_hook_info[HMMU_HOOK_MUNMAP].entry);
	if (!page) {
		refuse(plan, "no page within reach of libc");
		return;
	}
	if (!write_trampolines(plan, page)) {
		refuse(plan, "the system refuses to make a new page executable");
		goto err_unmap;
	}
	if (!store_all(plan))
		goto err_unmap;
	hmmu_syscall(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED_SYNC_CORE, 0);
	return;

err_unmap:
	hmmu_syscall(SYS_munmap, page, HMMU_PAGE);
}

void hmmu_hooks_patch(void)
{
	struct plan plan[HMMU_HOOK_NR];

	if (make_plan(plan))
		patch_all(plan);
	hmmu_hook_info[HMMU_HOOK_MMAP64].why = hmmu_hook_info[HMMU_HOOK_MMAP].why;
}
