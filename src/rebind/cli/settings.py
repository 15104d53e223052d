"""`rebind settings`: every setting, its value and where that came from."""

from __future__ import annotations

from rebind.cli.options import Data, Json


def settings(json: Json = False, data: Data = None) -> None:
    """List all settings with their values, and where each value comes from."""
    from dataclasses import fields

    from rebind.cli.options import flags
    from rebind.cli.output import print_json
    from rebind.settings import Settings, load

    loaded, sources = load(flags(data=data))
    for setting in fields(Settings):
        name = setting.name
        value, text = getattr(loaded, name), setting.metadata["help"]
        if json:
            print_json({"name": name, "value": value, "source": sources[name], "help": text})
        else:
            print(f"{name} = {value}  ({sources[name]}; {loaded.variable(name)})\n    {text}")
