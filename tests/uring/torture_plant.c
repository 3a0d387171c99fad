// SPDX-License-Identifier: MIT
/*
 * torture_plant.c - `hmmu torture` with a bug planted in the library: the hmmu column
 * must show it. usage: torture_plant BUG [OPTION]...
 */
#include <stdio.h>
#include <string.h>

#include "hmmu.h"
#include "plant.h"

static const char *const names[] = {
#define NAME(name, text) #name,
	HMMU_PLANT_LIST(NAME)
#undef NAME
};

int main(int argc, char **argv)
{
	for (int i = 0; argc > 1 && i < HMMU_PLANT_NR; i++) {
		if (strcmp(argv[1], names[i]))
			continue;
		hmmu_planted = (enum hmmu_plant)i;
		return hmmu_torture(argc - 1, argv + 1);
	}
	fprintf(stderr, "torture_plant: no such bug\n");
	return HMMU_EXIT_USAGE;
}
