// SPDX-License-Identifier: MIT
/*
 * mapping.c - which mapping covers an address, and what may be done with it.
 *
 * PROCMAP_QUERY (6.11) asks the kernel for one. Without it the list is read from its
 * beginning, once for a walk upwards. The list does not tell the size of hugetlb's pages.
 */
#include <errno.h>
#include <sys/mman.h>

#include "arch/syscall.h"
#include "hmm/walk.h"

int hmm_mappings_open(struct hmm_mappings *list)
{
	list->no_query = false;
	list->line.end = 0;
	list->asked = 0;
	return hmmu_maps_open(&list->maps) ? 0 : list->maps.fd;
}

void hmm_mappings_close(struct hmm_mappings *list)
{
	hmmu_maps_close(&list->maps);
}

static int query(struct hmm_mappings *list, unsigned long addr, struct hmm_mapping *m)
{
	struct hmmu_procmap_query q = {
		.size = sizeof(q),
		.query_flags = HMMU_PROCMAP_COVERING_OR_NEXT,
		.query_addr = addr,
	};
	long ret = hmmu_syscall(SYS_ioctl, list->maps.fd, HMMU_PROCMAP_QUERY, &q);

	if (ret < 0)
		return (int)ret;
	m->start = q.vma_start;
	m->end = q.vma_end;
	m->read = q.vma_flags & HMMU_PROCMAP_READABLE;
	m->write = q.vma_flags & HMMU_PROCMAP_WRITABLE;
	m->shared = q.vma_flags & HMMU_PROCMAP_SHARED;
	m->anonymous = !m->shared && !q.inode && !q.dev_major && !q.dev_minor;
	m->order = 0;
	if (q.vma_page_size > HMM_PAGE)
		m->order = (unsigned int)__builtin_ctzl(q.vma_page_size) - HMM_SHIFT;
	return 0;
}

static int from_list(struct hmm_mappings *list, unsigned long addr, struct hmm_mapping *m)
{
	struct hmmu_mapping *line = &list->line;

	if (addr < list->asked || !line->end) {
		hmmu_maps_close(&list->maps);
		if (!hmmu_maps_open(&list->maps))
			return -EACCES;
		line->end = 0;
	}
	list->asked = addr;
	while (line->end <= addr) {
		if (!hmmu_maps_next(&list->maps, line)) {
			line->end = 0;
			return list->maps.failed ? -EIO : -ENOENT;
		}
	}
	m->start = line->start;
	m->end = line->end;
	m->read = line->prot & PROT_READ;
	m->write = line->prot & PROT_WRITE;
	m->shared = line->shared;
	m->anonymous = !line->shared && !line->inode && !line->major && !line->minor;
	m->order = 0;
	return 0;
}

int hmm_mapping_find(struct hmm_mappings *list, unsigned long addr, struct hmm_mapping *m)
{
	if (!list->no_query) {
		int ret = query(list, addr, m);

		if (!ret || ret == -ENOENT)
			return ret;
		/* Whatever it was: the list tells the same. */
		list->no_query = true;
	}
	return from_list(list, addr, m);
}
