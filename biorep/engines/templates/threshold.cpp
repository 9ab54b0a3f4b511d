{# USES_VARIABLES { N, due, t_in_timesteps } #}
{# Takes the place of Brian2's threshold.cpp in groups that wait, see biorep/engines/waiting.py. Of each step of the slot
   there is a list of the neurons that are due in it: `_first` of the step, then `_next` of each neuron, -1 at the end. #}
{% extends 'common_group.cpp' %}

{% block extra_headers %}
#include <algorithm>
{% endblock %}

{% block maincode %}
    {% set _eventspace = get_array_name(eventspace_variable) %}
    static int32_t _first[{{waiting_steps}}], _next[N];
    const int32_t _step = {{t_in_timesteps}} % {{waiting_steps}};
    const auto _enlist = [&](const int32_t _neuron)
    {
        const double _when = {{due}}[_neuron];
        if (_when < {{waiting_until}})
        {
            _next[_neuron] = _first[(int32_t)_when];
            _first[(int32_t)_when] = _neuron;
        }
    };
    if (_step == 0)
    {
        std::fill_n(_first, {{waiting_steps}}, -1);
        for (int32_t _neuron = 0; _neuron < N; _neuron++)
            _enlist(_neuron);
    }
    else  // the reset has told those that spiked in the last step when they are due again
        for (int32_t _event = 0; _event < {{_eventspace}}[N]; _event++)
            _enlist({{_eventspace}}[_event]);

    // scalar code
    const int _vectorisation_idx = -1;
    {{scalar_code|autoindent}}

    int32_t _count = 0;
    for (int32_t _idx = _first[_step]; _idx >= 0; _idx = _next[_idx])
    {
        const size_t _vectorisation_idx = _idx;
        {{vector_code|autoindent}}
        if (_cond)
            {{_eventspace}}[_count++] = _idx;
    }
    std::sort({{_eventspace}}, {{_eventspace}} + _count);  // sums of synaptic input depend on the order
    {{_eventspace}}[N] = _count;
{% endblock %}

{% block after_code %}
{% set _eventspace = get_array_name(eventspace_variable) %}
{{_eventspace}}[N] = 0;
{% endblock %}
