// SPDX-License-Identifier: MIT
/*
 * doctor_plant.c - `hmmu doctor` with a bug planted in the library: it must show.
 * usage: doctor_plant BUG [OPTION]...
 */
#include <stdio.h>
#include <string.h>

#include "hmmu.h"
#include "plant.h"
#include "source/hooks/hooks.h"
#include "source/userfaultfd/userfaultfd.h"

static const char *const names[] = {
#define NAME(name, text) #name,
	HMMU_PLANT_LIST(NAME)
#undef NAME
};

/* Those of the sources that need no race to show. */
static bool plant_in_source(const char *bug)
{
	if (!strcmp(bug, "HOOK_END_EARLY"))
		hmmu_hook_planted = HMMU_HOOK_PLANT_END_EARLY;
	else if (!strcmp(bug, "HOOK_NO_TARGET"))
		hmmu_hook_planted = HMMU_HOOK_PLANT_NO_TARGET;
	else if (!strcmp(bug, "UFFD_NO_SOURCE"))
		hmmu_uffd_planted = UFFD_PLANT_NO_SOURCE;
	else
		return false;
	return true;
}

static bool plant(const char *bug)
{
	if (plant_in_source(bug))
		return true;
	for (int i = 0; i < HMMU_PLANT_NR; i++)
		if (!strcmp(bug, names[i])) {
			hmmu_planted = (enum hmmu_plant)i;
			return true;
		}
	return false;
}

int main(int argc, char **argv)
{
	if (argc > 1 && plant(argv[1]))
		return hmmu_doctor(argc - 1, argv + 1);
	fprintf(stderr, "doctor_plant: no such bug\n");
	return HMMU_EXIT_USAGE;
}
