// SPDX-License-Identifier: MIT
/*
 * selftest.c - a hook counts only when it has been seen to fire.
 *
 * Each operation is really called: at libc's own entry, by the symbol that the
 * program's calls bind to (another interposer may sit there), and, for those that
 * libc's allocator uses, from inside libc. A thread-local bit tells whether it came
 * by. Without this a patch under a translator that goes on executing the old bytes
 * (valgrind, if its translations were not dropped) would be believed. One patch that
 * does not fire discredits all: there an entry that was never called before does
 * arrive, while a caller that was translated together with it (sbrk with brk) goes the
 * old way.
 *
 *	entry seen	symbol seen	symbol is ours	state
 *	yes		yes		either		PATCHED
 *	no		(yes)		yes		INTERPOSED
 *	no		-		no		NONE
 *	yes		no		no		NONE: another library answers the
 *						program's calls by itself
 *
 * Nothing of the program's is touched: a page of our own; brk(0), which only asks;
 * shmdt, shmat and those that change files with arguments that the kernel refuses at
 * once. sbrk cannot be tried so: in libc's code there has to be a call of brk's entry.
 *
 * Context: open(); errno and the program's memory are left as they were.
 */
#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "arch/patch.h"
#include "arch/syscall.h"
#include "atomic.h"
#include "source/hooks/hooks.h"

#define SBRK_CODE 160
/* Above the largest M_MMAP_THRESHOLD, and so big that its free() does not move it. */
#define INNER_BLOCK (40UL << 20)

/* libc's allocator, whatever malloc() the program uses. */
extern void *__libc_malloc(size_t) __attribute__((weak));
extern void *__libc_realloc(void *, size_t) __attribute__((weak));
extern void __libc_free(void *) __attribute__((weak));

typedef int call_munmap(void *, size_t);
typedef void *call_mmap(void *, size_t, int, int, int, long);
/* Called as it is declared: a variadic call passes more than its arguments. */
typedef void *call_mremap(void *, size_t, size_t, int, ...);
typedef int call_madvise(void *, size_t, int);
typedef int call_brk(void *);
typedef void *call_sbrk(intptr_t);
typedef int call_shmdt(const void *);
typedef void *call_shmat(int, const void *, int);
typedef ssize_t call_process_madvise(int, const struct iovec *, size_t, int, unsigned int);
typedef int call_pkey_mprotect(void *, size_t, int, int);
typedef int call_remap_file_pages(void *, size_t, int, size_t, int);
typedef int call_ftruncate(int, long);
typedef int call_truncate(const char *, long);
typedef int call_fallocate(int, int, long, long);

static void *scratch_page(void)
{
	long page = hmmu_syscall(SYS_mmap, NULL, HMMU_PAGE, PROT_READ | PROT_WRITE,
				 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	return hmmu_is_err(page) ? NULL : (void *)page;
}

/* With arguments that the kernel refuses at once, or an own page. */
static void call_refused(int i, void *fn, void *page)
{
	switch (hmmu_hook_info[i].twin) {
	case HMMU_HOOK_PROCESS_MADVISE:
		((call_process_madvise *)fn)(-1, NULL, 0, MADV_DONTNEED, 0);
		break;
	case HMMU_HOOK_PKEY_MPROTECT:
		((call_pkey_mprotect *)fn)(page, HMMU_PAGE, PROT_READ, 0);
		break;
	case HMMU_HOOK_REMAP_FILE_PAGES:
		((call_remap_file_pages *)fn)(page, 0, 0, 0, 0);
		break;
	case HMMU_HOOK_FTRUNCATE:
		((call_ftruncate *)fn)(-1, 0);
		break;
	case HMMU_HOOK_TRUNCATE:
		((call_truncate *)fn)("", 0);
		break;
	case HMMU_HOOK_FALLOCATE:
		((call_fallocate *)fn)(-1, 0, 0, 1);
		break;
	default:
		break;
	}
}

/* Makes hook @i's call through @fn, harmlessly. May use up *page. */
static void call(int i, void *fn, void **page)
{
	void *p;

	switch (i) {
	case HMMU_HOOK_MUNMAP:
		if (!((call_munmap *)fn)(*page, HMMU_PAGE))
			*page = NULL;
		break;
	case HMMU_HOOK_MMAP:
	case HMMU_HOOK_MMAP64:
		p = ((call_mmap *)fn)(NULL, HMMU_PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS,
				      -1, 0);
		if (p != MAP_FAILED)
			hmmu_syscall(SYS_munmap, p, HMMU_PAGE);
		break;
	case HMMU_HOOK_MREMAP:
		((call_mremap *)fn)(*page, HMMU_PAGE, HMMU_PAGE, 0);
		break;
	case HMMU_HOOK_MADVISE:
		((call_madvise *)fn)(*page, HMMU_PAGE, MADV_DONTNEED);
		break;
	case HMMU_HOOK_MPROTECT:
		((call_madvise *)fn)(*page, HMMU_PAGE, PROT_READ);
		break;
	case HMMU_HOOK_BRK:
		((call_brk *)fn)(NULL);
		break;
	case HMMU_HOOK_SBRK:
		((call_sbrk *)fn)(0);
		break;
	case HMMU_HOOK_SHMDT:
		((call_shmdt *)fn)((const void *)1);
		break;
	case HMMU_HOOK_SHMAT:
		((call_shmat *)fn)(-1, NULL, 0);
		break;
	default:
		call_refused(i, fn, *page);
	}
}

static uint32_t seen_bit(int i)
{
	return 1u << hmmu_hook_info[i].twin;
}

static bool arrives(int i, void *fn)
{
	void *page;
	bool seen;

	if (!fn)
		return false;
	page = scratch_page();
	hmmu_hooks_again |= !page;
	if (!page)
		return false;
	hmmu_hook_seen = 0;
	call(i, fn, &page);
	seen = (hmmu_hook_seen & seen_bit(i)) != 0;
	if (i == HMMU_HOOK_PKEY_MPROTECT) {
		/* The other way through its prologue. */
		hmmu_hook_seen = 0;
		((call_pkey_mprotect *)fn)(page, HMMU_PAGE, PROT_READ, -1);
		seen = seen && (hmmu_hook_seen & seen_bit(HMMU_HOOK_MPROTECT));
	}
	if (page)
		hmmu_syscall(SYS_munmap, page, HMMU_PAGE);
	return seen;
}

/*
 * What libc's allocator did in malloc, realloc and free of a block that it maps: bits
 * of those that it must have called. 0 if it did not come to that (M_MMAP_MAX, a limit
 * on the address space): then only the equal addresses speak.
 */
static uint32_t inner_missing(void)
{
	uint32_t expected =
		1u << HMMU_HOOK_MMAP | 1u << HMMU_HOOK_MREMAP | 1u << HMMU_HOOK_MUNMAP;
	char *p, *q;
	size_t word = sizeof(size_t);

	if (!__libc_malloc || !__libc_realloc || !__libc_free)
		return 0;
	hmmu_hook_seen = 0;
	p = __libc_malloc(INNER_BLOCK);
	if (!p)
		return 0;
	/* A mapped chunk begins a page, and its size word says so (bit 1). */
	if ((uintptr_t)p % HMMU_PAGE != 2 * word || !(*(size_t *)(p - word) & 2)) {
		__libc_free(p);
		return 0;
	}
	q = __libc_realloc(p, INNER_BLOCK + (8UL << 20));
	__libc_free(q ? q : p);
	hmmu_hooks_again |= !q;
	return expected & ~hmmu_hook_seen;
}

/* Hooks that share an entry share its patch. */
static bool entry_written(int i)
{
	for (int k = 0; k < HMMU_HOOK_NR; k++)
		if (hmmu_hook_info[k].written &&
		    hmmu_hook_info[k].entry == hmmu_hook_info[i].entry)
			return true;
	return false;
}

static void judge(struct hmmu_hook_info *info, bool direct, bool global)
{
	info->state = HMMU_HOOK_NONE;
	info->within = direct && !info->aliased;
	if (direct && global) {
		info->state = HMMU_HOOK_PATCHED;
		info->why = NULL;
		return;
	}
	if (!info->why)
		info->why = direct ? "another library answers the program's calls"
				   : "patches do not fire here";
	if (global && info->global == info->wrapper)
		info->state = HMMU_HOOK_INTERPOSED;
}

/* Wrappers enter libc if its entry leads to us, and are replacements if not. */
static void set_way(int i, bool direct)
{
	if ((int)hmmu_hook_info[i].twin == i)
		hmmu_store_relaxed(&hmmu_interpose_to[i],
				   direct ? hmmu_hook_info[i].entry : NULL);
}

/* In libc's code there has to be a call of brk's entry; a patch over another library's
 * fires by itself. */
static bool sbrk_arrives(const struct hmmu_hook_info *info)
{
	const struct hmmu_hook_info *brk = &hmmu_hook_info[HMMU_HOOK_BRK];

	if (!info->entry)
		return false;
	if (info->written)
		return arrives(HMMU_HOOK_SBRK, info->entry);
	return brk->within && hmmu_patch_calls(info->entry, SBRK_CODE, brk->entry);
}

/*
 * The program's sbrk is neither libc's nor ours: another interposer's, or that of another
 * copy of this library. sbrk(0) asks brk when libc's word for the break is empty; a thread
 * that moves the break in that moment gets ENOMEM.
 */
static bool foreign_sbrk_arrives(const struct hmmu_hook_info *info)
{
	void **word = hmmu_hook_curbrk(), *now = *word;

	if (!info->global)
		return false;
	hmmu_hook_seen = 0;
	*word = NULL;
	((call_sbrk *)info->global)(0);
	if (!*word)
		*word = now;
	return hmmu_hook_seen & (1u << HMMU_HOOK_BRK | 1u << HMMU_HOOK_SBRK);
}

static void test_sbrk(void)
{
	struct hmmu_hook_info *info = &hmmu_hook_info[HMMU_HOOK_SBRK];
	bool direct = sbrk_arrives(info), global;

	set_way(HMMU_HOOK_SBRK, direct);
	if (info->global == info->entry)
		global = direct;
	else if (info->global != info->wrapper)
		global = direct && foreign_sbrk_arrives(info);
	else if (direct && !info->written)
		global = true; /* libc's own, which calls brk's entry */
	else
		global = arrives(HMMU_HOOK_SBRK, info->wrapper);

	info->why = direct ? NULL : "its calls of brk do not arrive";
	judge(info, direct, global);
}

/* Does every patch fire, where it is? */
static bool patches_fire(void)
{
	for (int i = 0; i < HMMU_HOOK_NR; i++)
		if (i != HMMU_HOOK_SBRK && entry_written(i) &&
		    !arrives(i, hmmu_hook_info[i].entry))
			return false;
	return true;
}

static void discredit_inner(void)
{
	uint32_t missing = inner_missing();

	/* See hmmu_hook_thread_gone(). */
	if (HMMU_HOOK_TSAN)
		missing |= 1u << HMMU_HOOK_MUNMAP | 1u << HMMU_HOOK_MADVISE;
	for (int i = 0; i < HMMU_HOOK_NR; i++)
		if (missing & seen_bit(i))
			hmmu_hook_info[i].within = false;
}

/* There is a libc, but it has no such function, neither now nor when this library was
 * loaded, and the program's calls, if it makes any at all, bind to ours. */
static bool absent(const struct hmmu_hook_info *info)
{
	return hmmu_hook_info[HMMU_HOOK_MUNMAP].entry && !info->entry &&
	       !hmmu_load_relaxed(&hmmu_interpose_to[info - hmmu_hook_info]) &&
	       (!info->global || info->global == info->wrapper);
}

void hmmu_hooks_selftest(void)
{
	int saved = errno;
	bool fire = HMMU_HOOK_PLANTED(BELIEVES) || patches_fire();

	for (int i = 0; i < HMMU_HOOK_NR; i++) {
		struct hmmu_hook_info *info = &hmmu_hook_info[i];
		bool direct = fire && entry_written(i), global;

		if (i == HMMU_HOOK_SBRK)
			continue;
		if (absent(info)) {
			info->state = HMMU_HOOK_ABSENT;
			info->why = "libc has none";
			continue;
		}
		set_way(i, direct);
		if (info->global == info->wrapper)
			global = arrives(i, info->wrapper);
		else
			global = direct && arrives(i, info->global);
		judge(info, direct, global);
	}
	test_sbrk();
	discredit_inner();
	errno = saved;
}
