// SPDX-License-Identifier: MIT
/* refused.c - UCX_MEM_EVENTS=n: UCX calls no handler, and the start says so; nothing stays. */
#include <errno.h>
#include <stdio.h>

#include <hmmu/ucx.h>

int main(void)
{
	const struct hmmu_mm_options hooks = {.size = sizeof(hooks),
					      .sources = HMMU_SOURCE_HOOKS};
	struct mm_struct *mm;
	int ret;

	if (hmmu_mm_open(&mm, &hooks))
		return 1;
	ret = hmmu_ucx_start(mm, NULL);
	printf("%d: %s\n", ret, hmmu_ucx_why() ? hmmu_ucx_why() : "(no reason)");
	if (ret != -EOPNOTSUPP || !hmmu_ucx_why() || hmmu_ucx_stop() != -ENOENT)
		return 1;
	/* Also where the program itself would tell. */
	if (hmmu_ucx_start(
		    mm, &(struct hmmu_ucx_options){.size = sizeof(struct hmmu_ucx_options),
						   .flags = HMMU_UCX_UNPROVEN |
							    HMMU_UCX_EXTERNAL}) != -EOPNOTSUPP)
		return 1;
	return hmmu_mm_close(mm) ? 1 : 0;
}
