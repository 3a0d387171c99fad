// SPDX-License-Identifier: MIT
/* names.c - what things are called, on the command line, in the table and in JSON. */
#include "doctor.h"

const char *const set_names[SET_NR] = {
	[SET_EXPLICIT] = "explicit",	   [SET_HOOKS] = "hooks",
	[SET_USERFAULTFD] = "userfaultfd", [SET_BOTH] = "hooks+userfaultfd",
	[SET_SECCOMP] = "seccomp",
};

const unsigned int set_masks[SET_NR] = {
	[SET_EXPLICIT] = HMMU_SOURCE_EXPLICIT,
	[SET_HOOKS] = HMMU_SOURCE_HOOKS,
	[SET_USERFAULTFD] = HMMU_SOURCE_USERFAULTFD,
	[SET_BOTH] = HMMU_SOURCE_HOOKS | HMMU_SOURCE_USERFAULTFD,
	[SET_SECCOMP] = HMMU_SOURCE_SECCOMP,
};

const char *const operation_names[HMMU_OP_NR] = {
	[HMMU_OP_MUNMAP] = "munmap",
	[HMMU_OP_MMAP_FIXED] = "mmap_fixed",
	[HMMU_OP_MREMAP] = "mremap",
	[HMMU_OP_MADVISE] = "madvise",
	[HMMU_OP_BRK] = "brk",
	[HMMU_OP_SHMDT] = "shmdt",
	[HMMU_OP_SHMAT_REMAP] = "shmat_remap",
	[HMMU_OP_MPROTECT] = "mprotect",
	[HMMU_OP_FORK] = "fork",
	[HMMU_OP_FTRUNCATE] = "ftruncate",
	[HMMU_OP_FALLOCATE] = "fallocate",
	[HMMU_OP_MADVISE_GUARD] = "madvise_guard",
	[HMMU_OP_PROCESS_MADVISE] = "process_madvise",
	[HMMU_OP_PKEY_MPROTECT] = "pkey_mprotect",
	[HMMU_OP_REMAP_FILE_PAGES] = "remap_file_pages",
};

const char *const caller_names[HMMU_CALLER_NR] = {
	[HMMU_CALLER_EXPLICIT] = "explicit",   [HMMU_CALLER_LIBC] = "libc",
	[HMMU_CALLER_LIBC_INTERNAL] = "glibc", [HMMU_CALLER_RAW] = "raw",
	[HMMU_CALLER_LDSO] = "ld.so",	       [HMMU_CALLER_IO_URING] = "io_uring",
	[HMMU_CALLER_PROCESS] = "process",
};

const char *const kind_names[HMMU_MEMORY_NR] = {
	[HMMU_MEMORY_ANY] = "any",
	[HMMU_MEMORY_ANON] = "anon",
	[HMMU_MEMORY_SHMEM] = "shmem",
	[HMMU_MEMORY_SYSV] = "sysv",
	[HMMU_MEMORY_FILE_PRIVATE] = "file-private",
	[HMMU_MEMORY_FILE_SHARED] = "file-shared",
};

const char *verdict_name(enum verdict v)
{
	static const char *const names[] = {
		[VERDICT_NONE] = "not applicable",
		[VERDICT_REFUSED] = "refused",
		[VERDICT_BROKEN] = "broken",
		[VERDICT_UNWATCHED] = "unwatched",
		[VERDICT_REUSE_OPEN] = "by return, reuse open",
		[VERDICT_BY_RETURN] = "by return",
		[VERDICT_BRACKETED] = "bracketed",
	};

	return names[v];
}
