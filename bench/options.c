// SPDX-License-Identifier: MIT
/* options.c - see options.h. */
#include "options.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

int bad_option(const char *option, const char *value)
{
	fprintf(stderr, "%s: bad option %s%s%s\n", program_invocation_short_name, option,
		value ? " " : "", value ? value : "");
	return 2;
}

bool read_number(const char *text, unsigned long low, unsigned long high, unsigned long *value)
{
	char *end;

	errno = 0;
	*value = strtoul(text, &end, 10);
	return *text >= '0' && *text <= '9' && !*end && !errno && *value >= low &&
	       *value <= high;
}
