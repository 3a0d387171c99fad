// SPDX-License-Identifier: MIT
/* The header alone, in both languages. */
#include <hmmu/libfabric.h>

int main(void)
{
	struct hmmu_fi_stats stats = {sizeof(stats), 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0};

	return hmmu_fi_stat(&stats);
}
