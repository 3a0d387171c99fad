// SPDX-License-Identifier: MIT
/*
 * json.c - the table as one JSON object, with what the machine is (libcjson): to standard
 * output with --json, and to a file of --results.
 */
#include "bench.h"

#include <limits.h>

#ifdef HAVE_CJSON
#include <cjson/cJSON.h>

static void add_stat(cJSON *object, const char *name, const struct stat *stat)
{
	cJSON *json = cJSON_AddObjectToObject(object, name);

	cJSON_AddNumberToObject(json, "median", stat->median);
	cJSON_AddNumberToObject(json, "p10", stat->p10);
	cJSON_AddNumberToObject(json, "p90", stat->p90);
}

static cJSON *json_of(const struct line *line)
{
	cJSON *json = cJSON_CreateObject();
	char text[64];

	cJSON_AddStringToObject(json, "group", line->group);
	cJSON_AddStringToObject(json, "name", line->name);
	cJSON_AddStringToObject(json, "unit", line->unit ? line->unit : "ns");
	if (line->note[0])
		cJSON_AddStringToObject(json, "note", line->note);
	if (line->not_available)
		return json;
	add_stat(json, "hmmu", &line->hmmu);
	if (line->has_base) {
		add_stat(json, line->base_name ? line->base_name : "reference", &line->base);
		add_stat(json, "ratio", &line->ratio);
	}
	if (line->goal != GOAL_NONE) {
		goal_text(line, text, sizeof(text));
		cJSON_AddStringToObject(json, "goal", text);
		cJSON_AddNumberToObject(json, "goal_unscaled", line->value);
		cJSON_AddBoolToObject(json, "reached", goal_reached(line));
		cJSON_AddBoolToObject(json, "reached_as_stated", goal_reached_as_stated(line));
	}
	return json;
}

static char *text_of(int missed)
{
	cJSON *json = cJSON_CreateObject(), *machine, *array;
	struct fact fact[FACTS];
	size_t known = facts(fact);
	const struct line *lines;
	char *text;
	int n;

	machine = cJSON_AddObjectToObject(json, "machine");
	for (size_t i = 0; i < known; i++)
		cJSON_AddStringToObject(machine, fact[i].name, fact[i].value);
	cJSON_AddNumberToObject(json, "getppid_ns", getppid_ns);
	cJSON_AddNumberToObject(json, "scale", getppid_ns / GETPPID_NS);
	cJSON_AddNumberToObject(json, "cpus", cpus());
	cJSON_AddNumberToObject(json, "rounds", options.rounds);
	cJSON_AddNumberToObject(json, "subscriptions", (double)options.many);
	cJSON_AddNumberToObject(json, "missed", missed);
	array = cJSON_AddArrayToObject(json, "lines");
	lines = report_lines(&n);
	for (int i = 0; i < n; i++)
		cJSON_AddItemToArray(array, json_of(&lines[i]));
	text = cJSON_Print(json);
	cJSON_Delete(json);
	return text;
}

static int write_results(const char *text)
{
	char path[PATH_MAX], name[160];
	FILE *file;
	int bad;

	facts_slug(name, sizeof(name));
	snprintf(path, sizeof(path), "%s/%s.json", options.results, name);
	file = fopen(path, "we");
	bad = !file || fprintf(file, "%s\n", text) < 0;
	if (file && fclose(file))
		bad = 1;
	fprintf(stderr, "%s: %s\n", bad ? "not written" : "results", path);
	return bad;
}

int json_end(int missed)
{
	char *text;
	int ret = 0;

	if (!options.json && !options.results)
		return 0;
	text = text_of(missed);
	if (!text)
		return 1;
	if (options.json)
		puts(text);
	if (options.results)
		ret = write_results(text);
	cJSON_free(text);
	return ret;
}
#else
int json_end(int missed)
{
	return 0; /* main() has refused what would need it */
}
#endif
