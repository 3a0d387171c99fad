// SPDX-License-Identifier: MIT
/*
 * libfabric.c - a memory region of libfabric's that knows when it is stale.
 *
 * A region outlives the memory that it was made for: munmap() asks nobody, and what is sent
 * through it afterwards is the old pages. Before a transfer is posted, and again when it
 * completes, hmmu_fi_mr_valid() says whether it still is what the program has there.
 *
 * Provider tcp, no hardware. Exit 77: there is none, or hooks do not work here.
 */
#include <hmmu/libfabric.h>

#include <rdma/fi_domain.h>
#include <rdma/fi_errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#define LENGTH (4UL << 12)

static struct fid_fabric *fabric;
static struct fid_domain *domain;

static int open_domain(void)
{
	struct fi_info *hints = fi_allocinfo(), *info;
	int ret;

	if (!hints)
		return -FI_ENOMEM;
	hints->fabric_attr->prov_name = strdup("tcp");
	hints->domain_attr->mr_mode = FI_MR_LOCAL | FI_MR_ALLOCATED | FI_MR_PROV_KEY |
				      FI_MR_VIRT_ADDR | FI_MR_ENDPOINT | FI_MR_RAW;
	ret = fi_getinfo(FI_VERSION(1, 13), NULL, NULL, 0, hints, &info);
	fi_freeinfo(hints);
	if (ret)
		return ret;
	ret = fi_fabric(info->fabric_attr, &fabric, NULL);
	if (!ret)
		ret = fi_domain(fabric, info, &domain, NULL);
	fi_freeinfo(info);
	return ret;
}

static char *map(void *at)
{
	int flags = MAP_PRIVATE | MAP_ANONYMOUS | (at ? MAP_FIXED : 0);

	return mmap(at, LENGTH, PROT_READ | PROT_WRITE, flags, -1, 0);
}

static int reg(struct mm_struct *mm, char *p, uint64_t key, struct hmmu_fi_mr **mr)
{
	return hmmu_fi_mr_reg(mm, domain, p, LENGTH, FI_SEND | FI_RECV, 0, key, 0, mr, NULL);
}

/* @p is registered; then other memory is there. */
static int demonstrate(struct mm_struct *mm, char *p)
{
	struct hmmu_fi_mr *old, *new;
	bool before, after, again;

	if (reg(mm, p, 1, &old))
		return 1;
	before = hmmu_fi_mr_valid(old);
	if (munmap(p, LENGTH) || map(p) != p)
		return 1;
	after = hmmu_fi_mr_valid(old); /* false: close it, register what is there now */
	if (hmmu_fi_mr_close(old) || reg(mm, p, 2, &new))
		return 1;
	again = hmmu_fi_mr_valid(new);
	printf("registered: %s; memory replaced: %s; registered again: %s\n",
	       before ? "valid" : "stale", after ? "valid" : "stale",
	       again ? "valid" : "stale");
	return hmmu_fi_mr_close(new) || !before || after || !again;
}

int main(void)
{
	struct hmmu_mm_options options = {.size = sizeof(options),
					  .sources = HMMU_SOURCE_HOOKS};
	struct mm_struct *mm;
	char *p;
	int ret;

	if (hmmu_mm_open(&mm, &options)) {
		fprintf(stderr, "hooks: %s\n", hmmu_source_why(HMMU_SOURCE_HOOKS));
		return 77;
	}
	ret = open_domain();
	if (ret) {
		fprintf(stderr, "provider tcp: %s\n", fi_strerror(-ret));
		return 77;
	}
	p = map(NULL);
	ret = p == MAP_FAILED || demonstrate(mm, p);
	return fi_close(&domain->fid) || fi_close(&fabric->fid) || hmmu_mm_close(mm) || ret;
}
