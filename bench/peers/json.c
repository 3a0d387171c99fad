// SPDX-License-Identifier: MIT
/* json.c - the same as one JSON object (libcjson). */
#include "goals.h"

#ifdef HAVE_CJSON
#include <cjson/cJSON.h>

static const char *const names[NR_SIDES + 1] = {"hmmu", "ucx", "tree", "none", "hmmu_alone"};

static void add_stat(cJSON *object, const char *name, const struct stat *stat)
{
	cJSON *json = cJSON_AddObjectToObject(object, name);

	cJSON_AddNumberToObject(json, "median", stat->median);
	cJSON_AddNumberToObject(json, "p10", stat->p10);
	cJSON_AddNumberToObject(json, "p90", stat->p90);
}

static cJSON *json_of_row(const struct row *row)
{
	static const char *const patterns[] = {"hot", "random", "dependent", "handle"};
	static const char *const variants[] = {"best", "hooks", "defaults"};
	cJSON *json = cJSON_CreateObject(), *time, *times;

	cJSON_AddStringToObject(json, "group", row->group);
	cJSON_AddStringToObject(json, "name", row->name);
	if (row->regions) {
		cJSON_AddNumberToObject(json, "regions", (double)row->regions);
		cJSON_AddStringToObject(json, "pattern", patterns[row->pattern]);
		cJSON_AddBoolToObject(json, "shared", row->shared);
	}
	cJSON_AddNumberToObject(json, "threads", row->threads);
	cJSON_AddStringToObject(json, "hmmu", variants[row->variant]);
	time = cJSON_AddObjectToObject(json, "ns");
	times = cJSON_AddObjectToObject(json, "times_hmmu");
	for (int side = 0; side <= NR_SIDES; side++) {
		if (!row->has[side])
			continue;
		add_stat(time, names[side], &row->time[side]);
		if (side != SIDE_HMMU)
			add_stat(times, names[side], &row->times[side]);
	}
	return json;
}

static cJSON *json_of_goal(int which)
{
	struct judged j = judge(which);
	cJSON *json = cJSON_CreateObject();

	cJSON_AddStringToObject(json, "goal", j.objective->text);
	cJSON_AddNumberToObject(json, "limit", j.objective->value);
	if (!j.worst)
		return json;
	cJSON_AddNumberToObject(json, "figure", j.figure);
	cJSON_AddStringToObject(json, "worst", j.worst->name);
	cJSON_AddBoolToObject(json, "met", j.met);
	cJSON_AddBoolToObject(json, "met_scaled", j.met_scaled);
	return json;
}

int json_print(void)
{
	cJSON *json = cJSON_CreateObject(), *array;
	char *text;

	cJSON_AddNumberToObject(json, "getppid_ns", getppid_ns);
	cJSON_AddNumberToObject(json, "cpus", cpus());
	cJSON_AddNumberToObject(json, "rounds", options.rounds);
	array = cJSON_AddArrayToObject(json, "rows");
	for (int i = 0; i < nr_rows; i++)
		cJSON_AddItemToArray(array, json_of_row(&rows[i]));
	array = cJSON_AddArrayToObject(json, "goals");
	for (int i = 0; i < nr_objectives; i++)
		cJSON_AddItemToArray(array, json_of_goal(i));
	text = cJSON_Print(json);
	cJSON_Delete(json);
	if (!text)
		return 1;
	puts(text);
	cJSON_free(text);
	return 0;
}
#else
int json_print(void)
{
	return 1;
}
#endif
