/* SPDX-License-Identifier: MIT */
/* find.h - for hmm/: is a page on a device? */
#ifndef HMMU_DEVMEM_FIND_H
#define HMMU_DEVMEM_FIND_H

#include <stdbool.h>

/* Is any arena open? */
bool hmmu_devmem_any(void);
/* Is the page of @addr on a device of @owner? Its place, as the number of a page of the
 * arena. True as long as the range is not invalidated. */
bool hmmu_devmem_find(unsigned long addr, void *owner, unsigned long *pfn);

#endif /* HMMU_DEVMEM_FIND_H */
