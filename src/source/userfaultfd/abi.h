/* SPDX-License-Identifier: MIT */
/*
 * abi.h - what the headers of Debian 12 (Linux 6.1) do not have yet. Numbers and layouts
 * are the kernel's (include/uapi/linux/userfaultfd.h, fs.h); each is tested for at run
 * time before it is relied on.
 */
#ifndef HMMU_USERFAULTFD_ABI_H
#define HMMU_USERFAULTFD_ABI_H

#include <linux/ioctl.h>
#include <linux/types.h>
#include <linux/userfaultfd.h>

#ifndef UFFD_USER_MODE_ONLY
#define UFFD_USER_MODE_ONLY 1
#endif
#define HMMU_UFFD_WP_UNPOPULATED (1ULL << 13) /* 6.4 */
#define HMMU_UFFD_WP_ASYNC (1ULL << 15)	      /* 6.7 */
#define HMMU_UFFD_MOVE (1ULL << 16)	      /* 6.8 */

struct hmmu_uffdio_move {
	__u64 dst;
	__u64 src;
	__u64 len;
	__u64 mode;
	__s64 move; /* out: bytes, or -errno */
};
#define HMMU_UFFDIO_MOVE _IOWR(0xaa, 0x05, struct hmmu_uffdio_move)

/* /proc/PID/maps, 6.11: the mapping that covers an address, or the next one. */
struct hmmu_procmap_query {
	__u64 size;
	__u64 query_flags;
	__u64 query_addr;
	__u64 vma_start;
	__u64 vma_end;
	__u64 vma_flags;
	__u64 vma_page_size;
	__u64 vma_offset;
	__u64 inode;
	__u32 dev_major;
	__u32 dev_minor;
	__u32 vma_name_size; /* 0: no name wanted */
	__u32 build_id_size;
	__u64 vma_name_addr;
	__u64 build_id_addr;
};
#define HMMU_PROCMAP_QUERY _IOWR('f', 17, struct hmmu_procmap_query)
/* vma_flags, as an answer */
#define HMMU_PROCMAP_READABLE 0x01
#define HMMU_PROCMAP_WRITABLE 0x02
#define HMMU_PROCMAP_SHARED 0x08
#define HMMU_PROCMAP_COVERING_OR_NEXT 0x10

/* /proc/PID/pagemap, 6.7, as WP_ASYNC. */
struct hmmu_pm_scan {
	__u64 size;
	__u64 flags;
	__u64 start;
	__u64 end;
	__u64 walk_end;
	__u64 vec; /* of hmmu_pm_region */
	__u64 vec_len;
	__u64 max_pages;
	__u64 category_inverted;
	__u64 category_mask;
	__u64 category_anyof_mask;
	__u64 return_mask;
};
struct hmmu_pm_region {
	__u64 start;
	__u64 end;
	__u64 categories;
};
#define HMMU_PAGEMAP_SCAN _IOWR('f', 16, struct hmmu_pm_scan)
#define HMMU_PM_CHECK_WPASYNC 2 /* EPERM if a mapping in the range is not registered so */
#define HMMU_PM_WP_MATCHING 1	/* the other flag: and protect what was found */
/* categories */
#define HMMU_PM_WPALLOWED 1
#define HMMU_PM_WRITTEN 2
#define HMMU_PM_FILE 4
#define HMMU_PM_PRESENT 8
#define HMMU_PM_SWAPPED 16
#define HMMU_PM_PFNZERO 32
#define HMMU_PM_HUGE 64
#define HMMU_PM_GUARD 256 /* 6.15 */

/* An entry of /proc/PID/pagemap. */
#define HMMU_ENTRY_PRESENT (1ULL << 63)
#define HMMU_ENTRY_FILE (1ULL << 61) /* no anonymous page */
#define HMMU_ENTRY_GUARD (1ULL << 58)
#define HMMU_ENTRY_ALONE (1ULL << 56)	    /* no other mapping of this page; 4.2 */
#define HMMU_ENTRY_FRAME ((1ULL << 55) - 1) /* 0 without CAP_SYS_ADMIN */

/* include/linux/sched.h, as /proc/PID/stat shows them: a worker of io_uring's. */
#define HMMU_PF_IO_WORKER 0x00000010UL
#define HMMU_PF_USER_WORKER 0x00004000UL /* 6.4; the submission thread has it too */

#endif /* HMMU_USERFAULTFD_ABI_H */
