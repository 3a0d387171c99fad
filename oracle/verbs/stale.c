// SPDX-License-Identifier: MIT
/*
 * stale - see stale.h. Ends with "rdma: N right, N wrong"; exit 0, 1 a line that is not as it
 * has to be, 2 something else fails, 77 no RDMA device.
 */
#include "stale.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>

static unsigned int right_lines, wrong_lines;

void judge(bool right, const char *format, ...)
{
	va_list args;

	printf("rdma: ");
	va_start(args, format);
	vprintf(format, args);
	va_end(args);
	printf("%s\n", right ? "" : "   <-- NOT AS IT HAS TO BE");
	if (right)
		right_lines++;
	else
		wrong_lines++;
}

int main(void)
{
	struct side kept, safe;
	struct pair pair;
	int ret = pair_open(&pair);

	setvbuf(stdout, NULL, _IOLBF, 0);
	if (ret == -ENODEV || ret == -ENOSYS) {
		printf("rdma: skipped: no RDMA device\n");
		return 77;
	}
	errno = -ret;
	need(!ret, "two queue pairs");
	side_open(&kept, &pair, false);
	side_open(&safe, &pair, true);
	printf("rdma: %-33s %-22s %s\n", "", "registration kept", "hmmu_verbs_get()");
	cases(&kept, &safe);
	storm(&kept, &safe);
	facts(&pair, &safe);
	side_close(&kept);
	side_close(&safe);
	errno = -pair_close(&pair);
	need(!errno, "nothing is left of the pair");
	printf("rdma: %u right, %u wrong\n", right_lines, wrong_lines);
	return wrong_lines != 0;
}
