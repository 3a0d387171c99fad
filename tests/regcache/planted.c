// SPDX-License-Identifier: MIT
/* planted.c - a case is run with a bug and without. */
#include "planted.h"

#include "api.h"

#include <fcntl.h>
#include <sys/wait.h>

#ifdef HMMU_PLANT
#include "plant.h"

/* A bug that hangs costs this much. */
#define SECONDS 5

static const char *const plant_name[HMMU_PLANT_NR] = {
#define NAME(name, text) [HMMU_PLANT_##name] = #name,
	HMMU_PLANT_LIST(NAME)
#undef NAME
};

static int plant_of(const char *name)
{
	int i;

	for (i = 0; i < HMMU_PLANT_NR; i++)
		if (!strcmp(plant_name[i], name))
			return i;
	fprintf(stderr, "no bug named %s\n", name);
	exit(2);
}

/* 0: it passed. */
static int run_with(int plant, const char *name, int (*run)(const char *name))
{
	int status, null;
	pid_t pid = fork();

	must(pid >= 0);
	if (!pid) {
		if (plant) {
			null = open("/dev/null", O_WRONLY | O_CLOEXEC);
			dup2(null, 1);
			dup2(null, 2);
		}
		hmmu_planted = (enum hmmu_plant)plant;
		api_guard(plant ? SECONDS : 60);
		_exit(run(name));
	}
	must(waitpid(pid, &status, 0) == pid);
	printf("%s with %s: %s\n", name, plant_name[plant],
	       !status			   ? "passed"
	       : WIFSIGNALED(status)	   ? "aborted"
	       : WEXITSTATUS(status) == 99 ? "hung"
					   : "failed");
	fflush(stdout);
	return status;
}

bool planted_asked(int argc, char **argv)
{
	return argc == 4 && !strcmp(argv[1], "--planted");
}

int planted_main(int argc, char **argv, int (*run)(const char *name))
{
	int plant = plant_of(argv[2]);

	signal(SIGALRM, SIG_DFL);
	alarm(0);
	if (run_with(0, argv[3], run)) /* without a bug: NONE is 0 */
		return 1;
	return run_with(plant, argv[3], run) ? 0 : 1;
}
#else
bool planted_asked(int argc, char **argv)
{
	return false;
}

int planted_main(int argc, char **argv, int (*run)(const char *name))
{
	return 2;
}
#endif
