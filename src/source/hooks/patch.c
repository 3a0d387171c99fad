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
 *
 * OTHERS patch as well (chain.c). Two places can be theirs: libc's entry, and the function
 * that this library exports under the same name, if their dlsym() finds that one (UCX asks
 * RTLD_NEXT: ucm_reloc_get_orig(), src/ucm/util/reloc.h). What the two look like is kept
 * when all is done, and compared later: hmmu_hooks_intact(). A trampoline page is never
 * given back; after PAGES rounds of patching over each other we give up.
 */
#include <dlfcn.h>
#include <errno.h>
#include <linux/membarrier.h>
#include <sys/mman.h>

#include "arch/patch.h"
#include "arch/syscall.h"
#include "atomic.h"
#include "source/hooks/hooks.h"
#include "source/hooks/maps.h"

#ifndef MAP_FIXED_NOREPLACE
#define MAP_FIXED_NOREPLACE 0x100000
#endif
#define LOWEST 0x100000UL /* above any vm.mmap_min_addr */
#define TRIES 8
#define PAGES 16
#define PLANS (2 * HMMU_HOOK_NR) /* entries, then wrappers */

struct plan {
	uint8_t *at; /* NULL: not this one */
	uint64_t old;
	unsigned int stack;
	void *foreign;
	uint8_t *trampoline;
	struct hmmu_hook_site code;
};

static const char OTHER_COPY[] = "another copy of this library has patched it";

static uint8_t *pages[PAGES];
static unsigned int npages;
bool hmmu_hooks_again;

/* Not a policy: it may be granted the next time. */
HMMU_HOOK static void note_refusal(long err)
{
	if (err == -ENOMEM || err == -EAGAIN)
		hmmu_hooks_again = true;
}

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

	if (!hmmu_maps_open(&maps)) {
		hmmu_hooks_again = true;
		return 0;
	}
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
	hmmu_hooks_again |= maps.failed;
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
		note_refusal(page);
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
	long err;

	hmmu_hooks_again |= prot < 0;
	if (prot < 0 || !(prot & PROT_EXEC))
		return "its page is not known to be code";
	err = hmmu_syscall(SYS_mprotect, page, HMMU_PAGE, PROT_READ | PROT_WRITE | PROT_EXEC);
	note_refusal(err);
	if (err)
		return "the system refuses to make libc's code writable";
	if (!hmmu_patch_store(p, plan->old, word))
		why = HMMU_PATCH_FOREIGN;
	else
		hmmu_patch_forget(p, sizeof(*p));
	hmmu_syscall(SYS_mprotect, page, HMMU_PAGE, prot);
	return why;
}

/* ---- what it looked like ---------------------------------------------- */

/* [from, to) as it is now. */
HMMU_HOOK static void keep(struct hmmu_hook_site *site, const uint8_t *from, const uint8_t *to)
{
	unsigned long start = (unsigned long)from & -8UL;

	site->at = (const uint64_t *)start;
	site->n = (unsigned int)(((unsigned long)to - start + 7) / 8);
	if (site->n > sizeof(site->words) / sizeof(site->words[0]))
		site->n = sizeof(site->words) / sizeof(site->words[0]);
	for (unsigned int i = 0; i < site->n; i++)
		site->words[i] = *(const volatile uint64_t *)(site->at + i);
}

HMMU_HOOK static bool kept(const struct hmmu_hook_site *site)
{
	for (unsigned int i = 0; i < site->n; i++)
		if (site->words[i] != *(const volatile uint64_t *)(site->at + i))
			return false;
	return true;
}

HMMU_HOOK bool hmmu_hooks_intact(void)
{
	if (HMMU_HOOK_PLANTED(INTACT))
		return true;
	if (hmmu_copies_leader)
		return hmmu_copies_leader->intact();
	for (int i = 0; i < HMMU_HOOK_NR; i++)
		if (!kept(&hmmu_hook_info[i].code) || !kept(&hmmu_hook_info[i].own))
			return false;
	return true;
}

/* ---- what is to be patched -------------------------------------------- */

static bool is_ours(const void *target)
{
	for (unsigned int i = 0; i < npages; i++)
		if ((const uint8_t *)target - pages[i] >= 0 &&
		    (const uint8_t *)target - pages[i] < (long)HMMU_PAGE)
			return true;
	return false;
}

/* NULL: @plan is what to do at @entry, and *site where that was found. The words are taken
 * first: what was decoded is what they hold, or the compare-and-swap fails. */
HMMU_HOOK static const char *find(const struct hmmu_hook_info *info, uint8_t *entry,
				  struct hmmu_patch_site *site, struct plan *plan)
{
	unsigned int threads = hmmu_hooks_threads();
	unsigned int flags = threads == 1 ? HMMU_PATCH_ALONE : 0;
	const char *why;

	hmmu_hooks_again |= !threads;
	if (info->branches)
		flags |= HMMU_PATCH_BRANCHES;
	keep(&plan->code, entry, entry + HMMU_PATCH_WALK);
	why = hmmu_patch_find(entry, flags, site);
	if (!why && !kept(&plan->code))
		why = HMMU_PATCH_FOREIGN;
	return why;
}

HMMU_HOOK static void plan_at(struct plan *plan, uint8_t *entry,
			      const struct hmmu_patch_site *site)
{
	unsigned long word = ((unsigned long)entry + site->offset) & -8UL;

	plan->at = entry + site->offset;
	plan->old = plan->code.words[(word - (unsigned long)plan->code.at) / 8];
	plan->stack = HMMU_HOOK_PLANTED(NO_STACK) ? 0 : site->stack;
	plan->foreign = site->foreign;
	/* Up to behind the jump: what comes later is libc's, also to be written to. */
	plan->code.n = (unsigned int)((word - (unsigned long)plan->code.at) / 8 + 1);
}

/* sbrk calls brk's entry: it is left alone, unless another library answers it. */
static bool left_alone(int i, const uint8_t *entry)
{
	return i == HMMU_HOOK_SBRK && !hmmu_patch_target(entry);
}

/* libc's entry of hook @i. */
HMMU_HOOK static void plan_entry(int i, struct plan *plan)
{
	struct hmmu_hook_info *info = &hmmu_hook_info[i];
	struct hmmu_patch_site site;
	uint8_t *entry = info->entry;

	if (info->written && kept(&info->code))
		return;
	info->written = false;
	if (entry && left_alone(i, entry)) {
		hmmu_store_release(&hmmu_hook_foreign[i], NULL);
		keep(&info->code, entry, entry + 16);
		return;
	}
	info->why = entry ? find(info, entry, &site, plan) : "libc's own is not known";
	if (info->why)
		return;
	if (site.foreign && hmmu_copies_other(site.foreign)) {
		info->why = OTHER_COPY;
		return;
	}
	if (!is_ours(site.foreign)) {
		plan_at(plan, entry, &site);
		return;
	}
	/* Somebody took a patch back that lay over ours. */
	info->written = true;
	keep(&info->code, entry, entry + site.offset + HMMU_PATCH_BYTES);
}

/* A jump out of this library, at the start of one of its functions. */
static bool leaves_us(const uint8_t *wrapper)
{
	void *target = hmmu_patch_target(wrapper);
	Dl_info there, here;

	if (!target || is_ours(target))
		return false;
	return !dladdr(target, &there) || !dladdr(hmmu_hook_info, &here) ||
	       there.dli_fbase != here.dli_fbase;
}

/* What this library exports as its name. */
HMMU_HOOK static void plan_wrapper(int i, struct plan *plan)
{
	struct hmmu_hook_info *info = &hmmu_hook_info[i];
	struct hmmu_patch_site site;
	uint8_t *wrapper = info->wrapper;

	if (leaves_us(wrapper) && !find(info, wrapper, &site, plan))
		plan_at(plan, wrapper, &site);
	else
		keep(&info->own, wrapper, wrapper + 16);
}

/* How many there are. */
HMMU_HOOK static unsigned int make_plan(struct plan *plan)
{
	unsigned int n = 0;

	for (int i = 0; i < HMMU_HOOK_NR; i++) {
		plan[i].at = plan[i + HMMU_HOOK_NR].at = NULL;
		if ((int)hmmu_hook_info[i].twin != i)
			continue;
		plan_entry(i, &plan[i]);
		/* It leads, and patches the others in this moment. */
		if (hmmu_hook_info[i].why == OTHER_COPY)
			return 0;
		plan_wrapper(i, &plan[i + HMMU_HOOK_NR]);
		n += (plan[i].at != NULL) + (plan[i + HMMU_HOOK_NR].at != NULL);
	}
	return n;
}

/* ---- patching --------------------------------------------------------- */

static void refuse(const struct plan *plan, const char *why)
{
	for (int i = 0; i < HMMU_HOOK_NR; i++)
		if (plan[i].at && !hmmu_hook_info[i].written)
			hmmu_hook_info[i].why = why;
}

/* Fills the page. False: nothing of it can be used. */
static bool write_trampolines(struct plan *plan, uint8_t *page)
{
	_Static_assert(sizeof(struct hmmu_copy_header) + PLANS * HMMU_TRAMPOLINE_BYTES <=
			       HMMU_PAGE,
		       "one page");
	long err;

	hmmu_copies_header((struct hmmu_copy_header *)page);
	for (int i = 0; i < PLANS; i++) {
		uint8_t *to =
			page + sizeof(struct hmmu_copy_header) + i * HMMU_TRAMPOLINE_BYTES;

		if (!plan[i].at)
			continue;
		hmmu_trampoline_write(to, plan[i].stack,
				      hmmu_hook_info[i % HMMU_HOOK_NR].replacement);
		plan[i].trampoline = to;
	}
	err = hmmu_syscall(SYS_mprotect, page, HMMU_PAGE, PROT_READ | PROT_EXEC);
	note_refusal(err);
	return !err;
}

/* NULL, or why not. Who comes by the new jump finds the handler that it replaced. */
HMMU_HOOK static const char *store_jump(int i, const struct plan *plan,
					struct hmmu_hook_site *site)
{
	void *before = hmmu_hook_foreign[i];
	const char *why;

	if (!reaches(plan->at, plan->trampoline))
		return "it is too far from the others";
	if (plan->foreign)
		hmmu_chain_pin(plan->foreign);
	/* Pairs with the acquire in change.c. */
	hmmu_store_release(&hmmu_hook_foreign[i], plan->foreign);
	why = store_word(plan, hmmu_patch_word(plan->at, plan->trampoline));
	if (why)
		hmmu_store_release(&hmmu_hook_foreign[i], before);
	else
		*site = plan->code;
	return why;
}

/* The kept words with our jump in them. */
static void put_jump(struct hmmu_hook_site *site, const struct plan *plan)
{
	unsigned long word = ((unsigned long)plan->at & -8UL) - (unsigned long)site->at;

	site->words[word / 8] = hmmu_patch_word(plan->at, plan->trampoline);
}

HMMU_HOOK static unsigned int store_all(const struct plan *plan)
{
	unsigned int n = 0;

	for (int i = 0; i < PLANS; i++) {
		struct hmmu_hook_info *info = &hmmu_hook_info[i % HMMU_HOOK_NR];
		struct hmmu_hook_site *site = i < HMMU_HOOK_NR ? &info->code : &info->own;
		const char *why;

		if (!plan[i].at)
			continue;
		why = store_jump(i % HMMU_HOOK_NR, &plan[i], site);
		if (!why)
			put_jump(site, &plan[i]);
		if (i < HMMU_HOOK_NR) {
			info->why = why;
			info->written = !why;
		}
		n += !why;
		/* Another copy of this library was faster: it leads. */
		if (why && i == HMMU_HOOK_MUNMAP) {
			refuse(plan, why);
			break;
		}
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
	page = npages < PAGES ? trampoline_page(hmmu_hook_info[HMMU_HOOK_MUNMAP].entry) : NULL;
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
	pages[npages++] = page;
	return;

err_unmap:
	hmmu_syscall(SYS_munmap, page, HMMU_PAGE);
}

void hmmu_hooks_patch(void)
{
	struct plan plan[PLANS];

	if (make_plan(plan))
		patch_all(plan);
	for (int i = 0; i < HMMU_HOOK_NR; i++)
		hmmu_hook_info[i].why = hmmu_hook_info[hmmu_hook_info[i].twin].why;
}
