// SPDX-License-Identifier: MIT
/*
 * interpose.c - libc's names, exported by this library.
 *
 * A call binds here if the library comes before libc in the program's link order, or
 * is preloaded; open proves it for each name (the program's own scope answers with
 * the wrapper's address). What a wrapper does depends on what became of libc's entry:
 *
 *	not opened yet		it enters libc, where another library may have patched
 *	PATCHED			the same: our jump, or the jump of who patched over it, is
 *				for every caller alike
 *	INTERPOSED		it is the replacement: brackets, and does not enter libc
 *	before the constructor	the same; nobody watches: the bare call
 *
 * (A wrapper that made its own call while libc's entry was patched by UCX hid it from UCX,
 * which tests its hooks by the program's names, and refused to install any.)
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
#include <dlfcn.h>
#include <gnu/lib-names.h>

#include "atomic.h"
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
ssize_t hmmu_interpose_process_madvise(int pidfd, const struct iovec *iov, size_t n, int advice,
				       unsigned int flags);
int hmmu_interpose_pkey_mprotect(void *addr, size_t len, int prot, int pkey);
int hmmu_interpose_remap_file_pages(void *addr, size_t size, int prot, size_t pgoff, int flags);
int hmmu_interpose_ftruncate(int fd, long length);
int hmmu_interpose_truncate(const char *path, long length);
int hmmu_interpose_fallocate(int fd, int mode, long offset, long len);

void *hmmu_interpose_to[HMMU_HOOK_NR];

/* The rest of a wrapper, called by its type; mremap is variadic in libc. */
#define TO(hook, name, ...)                                                         \
	({                                                                          \
		__typeof(hmmu_interpose_##name) *to_ =                              \
			(__typeof(to_))hmmu_load_relaxed(&hmmu_interpose_to[hook]); \
		to_ ? to_(__VA_ARGS__) : hmmu_hook_##name(__VA_ARGS__);             \
	})

HMMU_HOOK int hmmu_interpose_munmap(void *addr, size_t len)
{
	return TO(HMMU_HOOK_MUNMAP, munmap, addr, len);
}

HMMU_HOOK void *hmmu_interpose_mmap(void *addr, size_t len, int prot, int flags, int fd,
				    long offset)
{
	return TO(HMMU_HOOK_MMAP, mmap, addr, len, prot, flags, fd, offset);
}

HMMU_HOOK void *hmmu_interpose_mremap(void *old, size_t old_len, size_t new_len, int flags,
				      void *fixed)
{
	return TO(HMMU_HOOK_MREMAP, mremap, old, old_len, new_len, flags, fixed);
}

HMMU_HOOK int hmmu_interpose_madvise(void *addr, size_t len, int advice)
{
	return TO(HMMU_HOOK_MADVISE, madvise, addr, len, advice);
}

HMMU_HOOK int hmmu_interpose_mprotect(void *addr, size_t len, int prot)
{
	return TO(HMMU_HOOK_MPROTECT, mprotect, addr, len, prot);
}

HMMU_HOOK int hmmu_interpose_brk(void *addr)
{
	return TO(HMMU_HOOK_BRK, brk, addr);
}

HMMU_HOOK void *hmmu_interpose_sbrk(intptr_t increment)
{
	return TO(HMMU_HOOK_SBRK, sbrk, increment);
}

HMMU_HOOK int hmmu_interpose_shmdt(const void *addr)
{
	return TO(HMMU_HOOK_SHMDT, shmdt, addr);
}

HMMU_HOOK void *hmmu_interpose_shmat(int id, const void *addr, int flags)
{
	return TO(HMMU_HOOK_SHMAT, shmat, id, addr, flags);
}

HMMU_HOOK ssize_t hmmu_interpose_process_madvise(int pidfd, const struct iovec *iov, size_t n,
						 int advice, unsigned int flags)
{
	return TO(HMMU_HOOK_PROCESS_MADVISE, process_madvise, pidfd, iov, n, advice, flags);
}

HMMU_HOOK int hmmu_interpose_pkey_mprotect(void *addr, size_t len, int prot, int pkey)
{
	return TO(HMMU_HOOK_PKEY_MPROTECT, pkey_mprotect, addr, len, prot, pkey);
}

HMMU_HOOK int hmmu_interpose_remap_file_pages(void *addr, size_t size, int prot, size_t pgoff,
					      int flags)
{
	return TO(HMMU_HOOK_REMAP_FILE_PAGES, remap_file_pages, addr, size, prot, pgoff, flags);
}

HMMU_HOOK int hmmu_interpose_ftruncate(int fd, long length)
{
	return TO(HMMU_HOOK_FTRUNCATE, ftruncate, fd, length);
}

HMMU_HOOK int hmmu_interpose_truncate(const char *path, long length)
{
	return TO(HMMU_HOOK_TRUNCATE, truncate, path, length);
}

HMMU_HOOK int hmmu_interpose_fallocate(int fd, int mode, long offset, long len)
{
	return TO(HMMU_HOOK_FALLOCATE, fallocate, fd, mode, offset, len);
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
EXPORT_AS(process_madvise, hmmu_interpose_process_madvise);
EXPORT_AS(pkey_mprotect, hmmu_interpose_pkey_mprotect);
EXPORT_AS(remap_file_pages, hmmu_interpose_remap_file_pages);
EXPORT_AS(ftruncate, hmmu_interpose_ftruncate);
EXPORT_AS(ftruncate64, hmmu_interpose_ftruncate);
EXPORT_AS(truncate, hmmu_interpose_truncate);
EXPORT_AS(truncate64, hmmu_interpose_truncate);
EXPORT_AS(fallocate, hmmu_interpose_fallocate);
EXPORT_AS(fallocate64, hmmu_interpose_fallocate);

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
	[HMMU_HOOK_PROCESS_MADVISE] = (void *)hmmu_interpose_process_madvise,
	[HMMU_HOOK_PKEY_MPROTECT] = (void *)hmmu_interpose_pkey_mprotect,
	[HMMU_HOOK_REMAP_FILE_PAGES] = (void *)hmmu_interpose_remap_file_pages,
	[HMMU_HOOK_FTRUNCATE] = (void *)hmmu_interpose_ftruncate,
	[HMMU_HOOK_FTRUNCATE64] = (void *)hmmu_interpose_ftruncate,
	[HMMU_HOOK_TRUNCATE] = (void *)hmmu_interpose_truncate,
	[HMMU_HOOK_TRUNCATE64] = (void *)hmmu_interpose_truncate,
	[HMMU_HOOK_FALLOCATE] = (void *)hmmu_interpose_fallocate,
	[HMMU_HOOK_FALLOCATE64] = (void *)hmmu_interpose_fallocate,
};

/* Not in a hook: dlsym. */
__attribute__((constructor)) static void enter_libc(void)
{
	void *libc = dlopen(LIBC_SO, RTLD_LAZY | RTLD_NOLOAD);

	if (!libc)
		return;
	for (int i = 0; i < HMMU_HOOK_NR; i++)
		hmmu_store_relaxed(&hmmu_interpose_to[i], dlsym(libc, hmmu_hook_info[i].name));
	dlerror();
	dlclose(libc);
}
