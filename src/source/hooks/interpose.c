// SPDX-License-Identifier: MIT
/*
 * interpose.c - libc's names, exported by this library.
 *
 * A call binds here if the library comes before libc in the program's link order, or
 * is preloaded; open proves it for each name (the program's own scope answers with
 * the wrapper's address). A wrapper is the replacement under another name, so that it
 * is right in either state: with the entry patched it brackets by itself and does
 * not enter libc; while nobody watches it is the bare call.
 *
 * It does not see what libc calls by itself, and no library that was bound with
 * RTLD_DEEPBIND: for that the entries are patched.
 *
 * The names are defined without libc's prototypes in sight; mremap's fifth argument
 * is a fixed one here (the calling conventions of Linux's 64-bit ports pass it the
 * same). They must be unversioned in the library (the version script names them in no
 * node): a program's reference to munmap@GLIBC_2.2.5 binds to an unversioned munmap,
 * never to one with a version of ours, and dlsym() would not show the difference. Held by
 * tests/hooks/claims.c, preloaded.
 */
#include "source/hooks/hooks.h"

/* One address under two names: ours, hidden, for the proof; libc's, exported. */
#define EXPORT_AS(name, wrapper)      \
	extern __typeof(wrapper) name \
		__attribute__((alias(#wrapper), visibility("default"), used))

int hmmu_interpose_munmap(void *addr, size_t len);
void *hmmu_interpose_mmap(void *addr, size_t len, int prot, int flags, int fd, long offset);
void *hmmu_interpose_mremap(void *old, size_t old_len, size_t new_len, int flags, void *fixed);
int hmmu_interpose_madvise(void *addr, size_t len, int advice);
int hmmu_interpose_mprotect(void *addr, size_t len, int prot);
int hmmu_interpose_brk(void *addr);
void *hmmu_interpose_sbrk(intptr_t increment);
int hmmu_interpose_shmdt(const void *addr);
void *hmmu_interpose_shmat(int id, const void *addr, int flags);

HMMU_HOOK int hmmu_interpose_munmap(void *addr, size_t len)
{
	return hmmu_hook_munmap(addr, len);
}

HMMU_HOOK void *hmmu_interpose_mmap(void *addr, size_t len, int prot, int flags, int fd,
				    long offset)
{
	return hmmu_hook_mmap(addr, len, prot, flags, fd, offset);
}

HMMU_HOOK void *hmmu_interpose_mremap(void *old, size_t old_len, size_t new_len, int flags,
				      void *fixed)
{
	return hmmu_hook_mremap(old, old_len, new_len, flags, fixed);
}

HMMU_HOOK int hmmu_interpose_madvise(void *addr, size_t len, int advice)
{
	return hmmu_hook_madvise(addr, len, advice);
}

HMMU_HOOK int hmmu_interpose_mprotect(void *addr, size_t len, int prot)
{
	return hmmu_hook_mprotect(addr, len, prot);
}

HMMU_HOOK int hmmu_interpose_brk(void *addr)
{
	return hmmu_hook_brk(addr);
}

HMMU_HOOK void *hmmu_interpose_sbrk(intptr_t increment)
{
	return hmmu_hook_sbrk(increment);
}

HMMU_HOOK int hmmu_interpose_shmdt(const void *addr)
{
	return hmmu_hook_shmdt(addr);
}

HMMU_HOOK void *hmmu_interpose_shmat(int id, const void *addr, int flags)
{
	return hmmu_hook_shmat(id, addr, flags);
}

EXPORT_AS(munmap, hmmu_interpose_munmap);
EXPORT_AS(mmap, hmmu_interpose_mmap);
EXPORT_AS(mmap64, hmmu_interpose_mmap);
EXPORT_AS(mremap, hmmu_interpose_mremap);
EXPORT_AS(madvise, hmmu_interpose_madvise);
EXPORT_AS(mprotect, hmmu_interpose_mprotect);
EXPORT_AS(brk, hmmu_interpose_brk);
EXPORT_AS(sbrk, hmmu_interpose_sbrk);
EXPORT_AS(shmdt, hmmu_interpose_shmdt);
EXPORT_AS(shmat, hmmu_interpose_shmat);

void *const hmmu_interpose_wrappers[HMMU_HOOK_NR] = {
	[HMMU_HOOK_MUNMAP] = (void *)hmmu_interpose_munmap,
	[HMMU_HOOK_MMAP] = (void *)hmmu_interpose_mmap,
	[HMMU_HOOK_MMAP64] = (void *)hmmu_interpose_mmap,
	[HMMU_HOOK_MREMAP] = (void *)hmmu_interpose_mremap,
	[HMMU_HOOK_MADVISE] = (void *)hmmu_interpose_madvise,
	[HMMU_HOOK_MPROTECT] = (void *)hmmu_interpose_mprotect,
	[HMMU_HOOK_BRK] = (void *)hmmu_interpose_brk,
	[HMMU_HOOK_SBRK] = (void *)hmmu_interpose_sbrk,
	[HMMU_HOOK_SHMDT] = (void *)hmmu_interpose_shmdt,
	[HMMU_HOOK_SHMAT] = (void *)hmmu_interpose_shmat,
};
